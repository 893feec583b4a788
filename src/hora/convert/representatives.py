"""One network for many: of those that a setting chooses among, one is followed for all that do the same.

A script may name forty networks, of which a run trains one. What a conversion must do hangs on what a network gives and
does besides. Once all were followed, one stands for those that differ in neither, and later walks leave them out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from hora.convert import names
from hora.convert.networks import is_module
from hora.convert.program import Program
from hora.convert.values import Instance, Module, Named, Value

_LEAVING = frozenset({"return", "break", "continue", "raise"})
_EDITED = ("cuda", "device", "Parallel", "distributed")
"""Words of what rules edit wherever it is reached."""


def represented(program: Program) -> frozenset[ast.ClassDef]:
    """Give the classes that need not be followed again: wherever one is called, another that does the same is, too."""
    groups = [group for call in program.all_calls if (group := _networks(call.function.things))]
    several = dict.fromkeys(cls for group in groups if len(group) > 1 for cls in group)
    if not several:
        return frozenset()
    noted = frozenset(_noted(program))
    busy = {program.home(node).path for node in noted}
    alike: dict[object, list[ast.ClassDef]] = {}
    for cls in several:
        source = program.home(cls)
        path, text = source.path, source.text if source is not program.source else source.segment(cls)
        spoken_of = path in busy if source is not program.source else not noted.isdisjoint(ast.walk(cls))
        spoken_of = spoken_of or any(word in text for word in _EDITED)
        answers = frozenset(
            value
            for thing, values in program.facts.answers.items()
            if isinstance(thing, Instance) and thing.cls.node is cls
            for value in values
        )
        if not spoken_of and answers and all(map(_plain, answers)):
            alike.setdefault((answers, _normalised(program, path)), []).append(cls)
    found: set[ast.ClassDef] = set()
    for first, *others in alike.values():
        found |= {cls for cls in others if all(first in group for group in groups if cls in group)}
    return frozenset(found)


def _networks(things: frozenset[object]) -> dict[ast.ClassDef, None]:
    """Give the classes of the networks among some things, in the order of their lines."""
    classes = {one.cls.node for one in things if isinstance(one, Instance) and is_module(one)}
    return dict.fromkeys(sorted(classes, key=lambda cls: (cls.lineno, cls.name)))


def _plain(value: Value) -> bool:
    """Whether a value is made of tensors alone."""
    return not value.things and all(map(_plain, value.items or ()))


def _noted(program: Program) -> Iterator[ast.AST]:
    """Give the nodes at which something was noted that a rule may speak of."""
    facts = program.facts
    for table in (facts.escapes, facts.noise, facts.draws, facts.backwards, facts.partners):
        yield from (key[0] for key in table)
    yield from (event.node for event in facts.events.values() if event.what not in _LEAVING)
    speaking = {Named(one) for one in (*names.PRINTERS, *names.SAVERS)}
    yield from (call.node for call in program.all_calls if call.function.things & speaking)


def _normalised(program: Program, path: Path) -> bool:
    """Whether a file makes layers that normalise over the batch."""
    return any(
        isinstance(thing, Module) and "BatchNorm" in thing.maker and program.home(thing.site).path == path
        for thing in program.facts.made
    )
