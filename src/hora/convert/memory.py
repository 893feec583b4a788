"""What the variables, attributes and containers hold at one point of the walk."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace

from hora.convert.recall import Trace
from hora.convert.spread import Spread, older
from hora.convert.spread import join as join_spreads
from hora.convert.values import UNKNOWN, Box, Foreign, Instance, Stream, Thing, Value, join

ANY = "[]"
"""The cell of a container for what it holds under keys that are not known."""


class State:
    """Cells by owner and name: a frame's variables, an object's attributes, a container's elements.

    Parameters
    ----------
    cells
        What is held at the start.
    trace
        Where it is noted which cells are read and written; copies share it.
    """

    def __init__(self, cells: dict[Thing, dict[str, Value]] | None = None, trace: Trace | None = None) -> None:
        self.cells = cells or {}
        self.trace = trace or Trace()
        self._mine: set[Thing] = set()

    def copy(self) -> State:
        """Give a copy that can go another way; what neither writes to stays shared."""
        self._mine = set()
        return State(self.cells.copy(), self.trace)

    def _names(self, owner: Thing) -> dict[str, Value]:
        """Give an owner's cells to write to."""
        if owner not in self._mine:
            self.cells[owner] = dict(self.cells.get(owner, ()))
            self._mine.add(owner)
        return self.cells[owner]

    def get(self, owner: Thing, name: str) -> Value | None:
        """Give what a cell holds, or None."""
        self.trace.cell(owner, name)
        return self.cells.get(owner, {}).get(name)

    def set(self, owner: Thing, name: str, value: Value) -> None:
        """Put a value in a cell, in the place of what it held."""
        self.trace.write(owner, name)
        self._names(owner)[name] = value

    def add(self, owner: Thing, name: str, value: Value) -> None:
        """Put a value in a cell beside what it held."""
        held = self.get(owner, name)
        self.set(owner, name, value if held is None else join(held, value))

    def add_missing(self, cells: dict[Thing, dict[str, Value]]) -> None:
        """Take over the cells of owners that have none here."""
        for owner, names in cells.items():
            if owner not in self.cells:
                self.put(owner, names)

    def put(self, owner: Thing, names: dict[str, Value] | None) -> None:
        """Give an owner these cells, or none; they stay shared until they are written to."""
        self.forget(owner)
        if names is not None:
            self.cells[owner] = names

    def forget(self, owner: Thing) -> None:
        """Empty all cells of an owner."""
        self.trace.replace(owner)
        self.cells.pop(owner, None)
        self._mine.discard(owner)

    def held(self, owner: Thing) -> dict[str, Value]:
        """Give an owner's cells by name."""
        self.trace.owner(owner)
        return self.cells.get(owner, {})

    def element(self, owner: Thing, key: str | None) -> Value:
        """Give what a container holds under a key, or under any when that is not known."""
        held = self.held(owner)
        if key is not None and key in held:
            return held[key] if ANY not in held else join(held[key], held[ANY])
        if key is not None and ANY in held:
            return held[ANY]
        return either(value for name, value in held.items() if name.startswith("["))

    def pass_batch(self, loaders: frozenset[Hashable]) -> None:
        """Turn what depends on these loaders' current batch into what depends on an earlier one."""
        self.trace.lose()
        for owner, names in list(self.cells.items()):
            for name, value in list(names.items()):
                if value.spread.loaders & loaders or value.items:
                    self._names(owner)[name] = _older(value, loaders)

    def deep_spread(self, value: Value, seen: frozenset[Thing] = frozenset()) -> Spread:
        """Give the spread of a value together with what it contains."""
        spread = value.spread
        for item in value.items or ():
            spread = join_spreads(spread, self.deep_spread(item, seen))
        for thing in value.things:
            if isinstance(thing, Stream):
                spread = join_spreads(spread, self.deep_spread(thing.element, seen))
            if isinstance(thing, Box | Instance | Foreign) and thing not in seen:
                for held in self.held(thing).values():
                    spread = join_spreads(spread, self.deep_spread(held, seen | {thing}))
        return spread

    def deep_things(self, value: Value, seen: frozenset[Thing] = frozenset()) -> frozenset[Thing]:
        """Give the things that a value is or contains."""
        things = value.things
        for item in value.items or ():
            things |= self.deep_things(item, seen)
        for thing in value.things:
            if isinstance(thing, Stream):
                things |= self.deep_things(thing.element, seen)
            if isinstance(thing, Box) and thing not in seen:
                for held in self.held(thing).values():
                    things |= self.deep_things(held, seen | {thing})
        return things


def either(values: Iterable[Value]) -> Value:
    """Give the value that is one of several; nothing known where there are none."""
    result: Value | None = None
    for value in values:
        result = value if result is None else join(result, value)
    return UNKNOWN if result is None else result


def merge(states: Iterable[State | None]) -> State | None:
    """Give the state in which several paths meet; None stands for a path that is never taken."""
    reached = [state for state in states if state is not None]
    if not reached:
        return None
    first = reached[0].copy()
    for other in reached[1:]:
        for owner, names in other.cells.items():
            mine = first.cells.get(owner)
            if mine is names:
                continue
            for name, value in names.items():
                held = mine.get(name) if mine is not None else None
                if held is not value:
                    first.set(owner, name, value if held is None else join(held, value))
    return first


def _older(value: Value, loaders: frozenset[Hashable]) -> Value:
    """Give a value with its spread, and those of its items, one batch older."""
    items = None if value.items is None else tuple(_older(item, loaders) for item in value.items)
    return replace(value, spread=older(value.spread, loaders), items=items)
