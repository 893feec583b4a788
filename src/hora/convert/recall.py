"""What a call of a function did, recalled where the same call comes again and finds what it read as it was.

A walk goes through loops until nothing changes, so it comes to most calls several times. A call whose cells, arguments
and place are those of its last visit notes the same facts again: its writes alone need to be made.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from hora.convert.memory import State
    from hora.convert.values import Loader, Thing, Value

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass
class Visit:
    """Which cells a call reads and writes while it is followed; dicts, for their order.

    Attributes
    ----------
    cells, owners
        The cells, and the owners with all their cells, that the outcome may hang on.
    written, replaced
        The cells that are written to, and the owners whose cells are emptied first.
    looked
        What else was looked up: the table, the key, and what stood there.
    noted
        The facts that were put in the place of earlier ones, likewise.
    lost
        It hangs on more than cells, and cannot be recalled.
    """

    cells: dict[tuple[Thing, str], None] = field(default_factory=dict)
    owners: dict[Thing, None] = field(default_factory=dict)
    written: dict[tuple[Thing, str], None] = field(default_factory=dict)
    replaced: dict[Thing, None] = field(default_factory=dict)
    looked: dict[tuple[int, Hashable], tuple[Mapping[Any, object], Hashable, object]] = field(default_factory=dict)
    noted: dict[tuple[int, Hashable], tuple[dict[Any, Any], Hashable, object]] = field(default_factory=dict)
    lost: bool = False

    def add(self, other: Visit) -> None:
        """Take over what a call inside this one read and wrote."""
        self.cells |= other.cells
        self.owners |= other.owners
        self.written |= other.written
        self.replaced |= other.replaced
        self.looked |= other.looked
        self.noted |= other.noted
        self.lost = self.lost or other.lost

    def own(self, frame: Thing) -> None:
        """Take out what the call's own variables held before: it begins with none."""
        self.owners.pop(frame, None)
        self.cells = {cell: None for cell in self.cells if cell[0] != frame}
        self.replaced[frame] = None


class Trace:
    """Where the states of one walk note what is read and written."""

    def __init__(self) -> None:
        self.visit = Visit()

    def cell(self, owner: Thing, name: str) -> None:
        """Note that a cell is read."""
        self.visit.cells[owner, name] = None

    def owner(self, owner: Thing) -> None:
        """Note that all cells of an owner are read."""
        self.visit.owners[owner] = None

    def write(self, owner: Thing, name: str) -> None:
        """Note that a cell is written to: where ways meet, what it held before counts, too."""
        self.visit.cells[owner, name] = self.visit.written[owner, name] = None

    def replace(self, owner: Thing) -> None:
        """Note that an owner's cells are emptied."""
        self.visit.owners[owner] = self.visit.replaced[owner] = None

    def look(self, table: Mapping[K, V], key: K) -> V | None:
        """Look something up that is not in a cell."""
        found = table.get(key)
        self.visit.looked[id(table), key] = table, key, found
        return found

    def note(self, table: dict[K, V], key: K, value: V) -> None:
        """Put a fact in the place of an earlier one."""
        table[key] = value
        self.visit.noted[id(table), key] = table, key, value

    def lose(self) -> None:
        """Note that what happens hangs on more than cells."""
        self.visit.lost = True


@dataclass(frozen=True)
class Recalled:
    """A call as it was followed last.

    Attributes
    ----------
    key
        What it was called with, and from where.
    visit
        What it read and wrote.
    before, after
        What all owners held when it began and when it had ended.
    result, drawn
        What it gave, and the loaders that it drew from.
    """

    key: object
    visit: Visit
    before: dict[Thing, dict[str, Value]]
    after: dict[Thing, dict[str, Value]]
    result: Value
    drawn: frozenset[Loader]

    def fits(self, key: object, state: State) -> bool:
        """Whether following the call from this state would do the same again."""
        if self.key != key:
            return False
        now, then = state.cells, self.before
        if any(now.get(owner) != then.get(owner) for owner in self.visit.owners):
            return False
        if any(table.get(key) != value for table, key, value in self.visit.looked.values()):
            return False
        return all(_same(now.get(owner), then.get(owner), name) for owner, name in self.visit.cells)

    def repeat(self, state: State) -> None:
        """Write and note what the call wrote and noted."""
        # What it reads and writes is noted as it was the first time: its own variables are of no account to its caller.
        around, state.trace.visit = state.trace.visit, Visit()
        for owner in self.visit.replaced:
            state.put(owner, self.after.get(owner))
        for owner, name in self.visit.written:
            if owner not in self.visit.replaced:
                state.set(owner, name, self.after[owner][name])
        for table, key, value in self.visit.noted.values():
            table[key] = value
        state.trace.visit = around
        state.trace.visit.add(self.visit)


def _same(now: dict[str, Value] | None, then: dict[str, Value] | None, name: str) -> bool:
    """Whether a cell holds what it held."""
    if now is then:
        return True
    one, other = (now or {}).get(name), (then or {}).get(name)
    return one is other or one == other
