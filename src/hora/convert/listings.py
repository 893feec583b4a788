"""Lists and streams with entries of the samples of a batch: filled by a loop over them, or made of what goes over them.

A list that gets one entry in each turn of such a loop is as good as the batch; one that only some samples fill may be
empty on a worker.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from hora.convert import access
from hora.convert.samples import LEFT, NONE, ONE_BY_ONE, Sampling, as_entry, for_some, of_sample, parts
from hora.convert.spread import Kind, Spread, mixed
from hora.convert.values import Box, Stream, Value, tensor

if TYPE_CHECKING:
    from hora.convert.walk import Walk

_BY_VALUE = "samples are put together by what they are, which a worker can only do with its own"


def unlisted(walk: Walk, value: Value, node: ast.AST) -> Value:
    """Give an entry of a list of the samples' entries, in a loop over it: that of one sample."""
    if value.items is not None:
        return replace(value, items=tuple(unlisted(walk, item, node) for item in value.items))
    if value.spread.kind is not Kind.LISTED:
        return value
    if not walk.control.alike:
        return tensor(mixed("HR305", ONE_BY_ONE, node, value.spread))
    return replace(value, spread=replace(value.spread, kind=Kind.EACH))


def kept(walk: Walk, value: Value, node: ast.AST) -> Value:
    """Give a value that is put in a list, in a loop over samples."""
    why = walk.control.why
    if why is not None and why.message == ONE_BY_ONE:
        return replace(value, spread=mixed("HR305", ONE_BY_ONE, node, Spread(Kind.SUM, value.spread.loaders)))
    if walk.control.kind is not Kind.EACH:
        return value
    spread = walk.state.deep_spread(value)
    if not (spread.alike or spread.kind in (Kind.EACH, Kind.MIXED)):
        return tensor(mixed("HR305", "what is listed for each sample is of the whole slice", node, spread))
    return replace(value, spread=replace(walk.control, why=None)) if spread.alike else value


def collected(walk: Walk, value: Value, node: ast.AST) -> Value:
    """Give what a comprehension collects, where it goes over samples: at its end, all have an entry, or some."""
    sampling = walk.sampling
    if sampling is None or sampling.node is not node:
        return kept(walk, value, node)
    held = kept(walk, value, node)
    if held.spread.kind is not Kind.EACH:
        return held
    if not isinstance(node, ast.ListComp | ast.GeneratorExp):
        return tensor(mixed("HR305", _BY_VALUE, node, replace(held.spread, kind=Kind.SUM)))
    return as_entry(held, None if sampling.parted else 0)


def entry(walk: Walk, value: Value, node: ast.AST, *, ordered: bool = True) -> Value:
    """Give what a container holds that is made of what goes over samples; not ``ordered``, by what they are."""
    found = [part for part in parts(value) if of_sample(part)]
    if not found or not walk.control.alike:
        return value
    if not ordered:
        loaders = frozenset().union(*(part.spread.loaders for part in found))
        return tensor(mixed("HR305", _BY_VALUE, node, Spread(Kind.SUM, loaders)))
    return as_entry(value, None if for_some(found) else 0)


def mapped(sampling: Sampling | None, value: Value) -> Value:
    """Give what ``map()`` hands out, where it has gone over samples."""
    return value if sampling is None else as_entry(value, None if sampling.parted else 0)


def yielded(walk: Walk, value: Value) -> Value:
    """Give what a generator hands out, in a loop over samples of its own."""
    sampling = walk.sampling
    if sampling is None or (walk.frame, walk.context) != (sampling.frame, sampling.context):
        return value
    return as_entry(kept(walk, value, sampling.node), None if sampling.parted else 0)


def listed(walk: Walk, value: Value) -> Spread | None:
    """Give how a list or stream of the samples' entries spreads; None for any other.

    A list that holds anything else beside them is not followed.
    """
    streams = [thing for thing in value.things if isinstance(thing, Stream) and not thing.loaders]
    held = [entry(walk, stream.element, stream.site).spread for stream in streams]
    boxes = [thing for thing in value.things if isinstance(thing, Box)]
    held += [one.spread for box in boxes for one in walk.state.held(box).values()]
    if Kind.LISTED not in (one.kind for one in held):
        return None
    whole = walk.state.deep_spread(value)
    if len(held) > 1 or len(value.things) > 1:
        return mixed("HR305", "a list of the samples' entries holds others beside them", walk.frame.node, *held)
    return whole if whole.kind is Kind.MIXED else held[0]


def gathered(walk: Walk, value: Value, *, whole: bool = True) -> Value:
    """Give what a list of the samples' entries is as one tensor; anything else as it is.

    Not ``whole``, it has as many entries as the samples' tensors have together.
    """
    found = listed(walk, value)
    if found is None or found.kind is not Kind.LISTED:
        return value if found is None else tensor(found)
    if found.axis is None:
        return tensor(mixed("HR305", NONE, walk.frame.node, replace(found, kind=Kind.SUM)))
    return tensor(Spread(Kind.ROWS if whole else Kind.RAGGED, found.loaders, 0))


def number(walk: Walk, value: Value) -> Spread | None:
    """Give how the number of entries of a list spreads that loops over samples have filled; None for any other."""
    for thing in value.things:
        for held in walk.state.held(thing).values() if isinstance(thing, Box) else ():
            if held.spread.why is not None and held.spread.why.message in (ONE_BY_ONE, LEFT, _BY_VALUE):
                return held.spread
    found = listed(walk, value)
    if found is None or found.kind is not Kind.LISTED:
        return found
    return Spread(Kind.SUM if found.axis is None else Kind.COUNT, found.loaders)


def total(walk: Walk, value: Value, found: Spread) -> Value:
    """Give the sum of a list's entries."""
    entry, _ = access.elements(walk, value, walk.frame.node)
    if found.kind is not Kind.LISTED:
        return tensor(found)
    if found.axis is None and not entry.number:
        return tensor(mixed("HR305", NONE, walk.frame.node, replace(found, kind=Kind.SUM)))
    return Value(Spread(Kind.SUM, found.loaders), number=entry.number)
