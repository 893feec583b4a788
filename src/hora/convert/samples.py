"""Loops over the samples of a batch: what belongs to one sample, what adds up over all, what is listed of each.

In such a loop each worker goes through its own slice. What is worked out from one sample is the same wherever that
sample is; what adds up over the loop is a sum over the slice; a list that gets one entry in each turn has an entry for
each sample. What one turn leaves to the next, and the last one to what follows, depends on how the batch was cut.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hora.convert.memory import State
from hora.convert.spread import ALIKE, ENTRIES, Kind, Reason, Spread, join, mixed
from hora.convert.values import NUMBER, UNKNOWN, Batch, Box, Constant, Context, Frame, Place, Value, tensor

if TYPE_CHECKING:
    from hora.convert.walk import Walk

ONE_BY_ONE = "the samples of the batch are gone through one by one"
LEFT = "what one sample leaves is used for another, or after all of them"
NONE = "a worker all of whose samples are left out has nothing to go backward through"
_LISTS = frozenset({"list"})


@dataclass
class Sampling:
    """A loop over samples that the walk is in.

    Attributes
    ----------
    node, frame, context
        The loop, and where it runs.
    spread
        How a value of one sample spreads. One that a loop hands out has axis 0 where there is one for each sample.
    before
        What was held when it began.
    adds
        The names, as written, that the loop only ever adds to.
    sums
        Sums such as that of ``total = total + x``, with what they add to.
    parted
        Whether some of its statements are for some of the samples alone.
    """

    node: ast.AST
    frame: Frame
    context: Context
    spread: Spread
    before: State
    adds: frozenset[str] = frozenset()
    sums: dict[ast.AST, ast.expr] = field(default_factory=dict)
    parted: bool = False


def begin(walk: Walk, node: ast.AST, element: Value) -> Sampling | None:
    """Give the loop over samples that one over these elements is; None for any other."""
    found = parts(element)
    loaders = frozenset().union(*(part.spread.loaders for part in found if of_sample(part)))
    if not loaders or not walk.control.alike:
        return None
    adds, sums = _sums(node)
    why = Reason("HR305", "this is done for each sample of the batch", node)
    spread = Spread(Kind.EACH, loaders, why=why)
    return Sampling(node, walk.frame, walk.context, spread, walk.state, adds, sums, parted=for_some(found))


def uneven(element: Value) -> bool:
    """Whether a loop over these elements takes as many turns as a worker has samples, in a way that is not followed."""
    reasons = [part.spread.why for part in parts(element) if part.spread.kind is Kind.MIXED]
    return any(why is not None and why.message == ONE_BY_ONE for why in reasons)


def turns(walk: Walk, iterated: Value, element: Value, node: ast.AST) -> Spread | None:
    """Give how often the body of a loop is done, where that differs from sample to sample or is not followed."""
    if uneven(element):
        return mixed("HR305", ONE_BY_ONE, node, walk.state.deep_spread(element))
    inner = [part.spread for part in (iterated, *parts(element)) if part.spread.kind is Kind.EACH]
    return inner[0] if inner and walk.sampling is not None else None


@contextmanager
def within(walk: Walk, sampling: Sampling | None) -> Iterator[None]:
    """Go on inside a loop over samples."""
    held = walk.sampling, walk.control
    if sampling is not None:
        walk.sampling, walk.control = sampling, sampling.spread
    try:
        yield
    finally:
        walk.sampling, walk.control = held


def part(walk: Walk, sampling: Sampling) -> None:
    """Note that what comes now is for some of the samples alone."""
    sampling.parted = True
    walk.state.trace.lose()


def coloured(value: Value, control: Spread) -> Value:
    """Give a value that is bound or returned under a decision: what is alike is one sample's, where that decides."""
    if control.kind is not Kind.EACH:
        return replace(value, spread=join(value.spread, control))
    items = None if value.items is None else tuple(coloured(item, control) for item in value.items)
    if value.spread.alike and items is None:
        return replace(value, spread=replace(control, why=None))
    return replace(value, items=items)


def astray(value: Value, node: ast.AST) -> Value:
    """Give what iterating over a batch gives outside of a loop, as in ``f(*batch)``: its samples are not followed."""
    return replace(value, spread=mixed("HR305", ONE_BY_ONE, node, replace(value.spread, kind=Kind.SUM)))


def returned(walk: Walk, value: Value) -> Value:
    """Give a value that is returned: out of a loop over samples it is that of the first that comes to it."""
    sampling = walk.sampling
    if sampling is not None and (walk.frame, walk.context) == (sampling.frame, sampling.context):
        settle(sampling, walk.state, broken=True)
        return _left(sampling, replace(value, items=None))
    return value if walk.control.alike or walk.keeps_to_itself() else coloured(value, walk.control)


def parts(value: Value) -> list[Value]:
    """Give a value and all that it is made up of."""
    return [value, *(part for item in value.items or () for part in parts(item))]


def for_some(parts: list[Value]) -> bool:
    """Whether what is gone through has entries for some of the samples alone, or several for one."""
    return any(part.spread.kind is Kind.EACH and part.spread.axis is None for part in parts)


def of_sample(value: Value) -> bool:
    """Whether a value is one sample's, or a sample's place."""
    return value.spread.kind is Kind.EACH or Place() in value.things


def _sums(node: ast.AST) -> tuple[frozenset[str], dict[ast.AST, ast.expr]]:
    """Give what a loop only adds to, and the sums that do so in a plain assignment."""
    adds: set[str] = set()
    sums: dict[ast.AST, ast.expr] = {}
    own: set[ast.AST] = set()
    for one in ast.walk(node):
        target: ast.expr | None = None
        op: ast.operator | None = None
        total: ast.BinOp | None = None
        if isinstance(one, ast.AugAssign):
            target, op = one.target, one.op
        elif isinstance(one, ast.Assign) and len(one.targets) == 1 and isinstance(one.value, ast.BinOp):
            target, op, total = one.targets[0], one.value.op, one.value
        if not isinstance(target, ast.Name | ast.Attribute) or not isinstance(op, ast.Add | ast.Sub):
            continue
        if total is not None and ast.unparse(total.left) != ast.unparse(target):
            continue
        adds.add(ast.unparse(target))
        own.add(target)
        if total is not None:
            sums[total] = target
    stores = [one for one in ast.walk(node) if isinstance(getattr(one, "ctx", None), ast.Store) and one not in own]
    return frozenset(adds - {ast.unparse(one) for one in stores}), sums


# What samples and their places give


def element(walk: Walk, value: Value, node: ast.AST) -> Value | None:
    """Give what iterating over a tensor hands out, where that is a sample, or a part of one."""
    spread = value.spread
    if value.items is not None or any(not isinstance(thing, Constant) for thing in value.things):
        return None
    if spread.kind is Kind.EACH:
        return tensor(spread, number=value.number)
    if spread.kind is Kind.ROWS and spread.axis == 0 and walk.control.alike:
        return tensor(Spread(Kind.EACH, spread.loaders, 0), number=value.number)
    if spread.kind is Kind.ROWS and spread.axis:
        # In front of the samples stands another axis, such as that of time: each turn has all samples.
        return tensor(replace(spread, axis=spread.axis - 1), number=value.number)
    if spread.kind in ENTRIES and walk.sampling is not None:
        return tensor(mixed("HR305", "each sample of the batch meets each other", node, spread))
    return None


def place(walk: Walk, count: Spread, node: ast.AST) -> Value | None:
    """Give the place of a sample in its slice, as ``range()`` of their number hands it out."""
    if count.kind is not Kind.COUNT or not walk.control.alike:
        return None
    message = "places within a worker's slice are used as if they were places in the batch"
    return Value(mixed("HR305", message, node, count), frozenset({Place()}), number=True)


def numbered(walk: Walk, entry: Value, node: ast.AST) -> Value:
    """Give an element with its number, as ``enumerate()`` does: of a sample, that is its place."""
    found = [part for part in parts(entry) if of_sample(part)]
    count = Spread(Kind.COUNT, frozenset().union(*(part.spread.loaders for part in found)))
    number = place(walk, count, node) if found else None
    return Value(items=(number if number is not None else NUMBER, entry))


def side_by_side(walk: Walk, entries: tuple[Value, ...], node: ast.AST) -> tuple[Value, ...]:
    """Give elements that come together, as ``zip()`` hands them out: beside a sample, what goes by its place."""
    if not walk.control.alike or not any(of_sample(part) for entry in entries for part in parts(entry)):
        return entries
    message = "a worker's own samples are put beside what is listed for the whole batch"
    return tuple(
        entry
        if any(of_sample(part) for part in parts(entry))
        else tensor(mixed("HR305", message, node, replace(walk.state.deep_spread(entry), kind=Kind.SUM)))
        for entry in entries
    )


def picked(walk: Walk, receiver: Value, index: Value, node: ast.expr) -> Value | None:
    """Give the sample that is picked by its place, as by ``x[i]`` or ``x[i : i + 1]``; None where another index picks.

    ``node`` is the index as it is written.
    """
    several = index.items if index.items is not None else (index,)
    if isinstance(node, ast.Tuple):
        node = node.elts[0] if node.elts and len(node.elts) == len(several) else node
    spread = receiver.spread
    at = _place(walk, several[0], node) if walk.sampling is not None and several else None
    if at is None or at.loaders != spread.loaders:
        return None
    if spread.kind is not Kind.ROWS or spread.axis != 0 or any(isinstance(one, Batch) for one in receiver.things):
        return None
    if any(not one.spread.alike and one.spread.kind is not Kind.EACH for one in several[1:]):
        return None
    return tensor(Spread(Kind.EACH, spread.loaders), number=receiver.number)


def _place(walk: Walk, index: Value, node: ast.expr) -> Spread | None:
    """Give how an index spreads that is the place of one sample, or a slice from there to the next; None for others."""
    if isinstance(node, ast.Slice) and isinstance(node.lower, ast.Name) and node.upper is not None:
        follows = ast.unparse(node.upper) in (f"{node.lower.id} + 1", f"1 + {node.lower.id}")
        index = walk.value(node.lower) if follows and node.step is None else UNKNOWN
    return index.spread if index.things == {Place()} else None


def keeps(walk: Walk, receiver: Value, index: Value, node: ast.expr, value: Value) -> bool:
    """Whether storing a value by an index writes what is one sample's in the place of that sample."""
    return picked(walk, receiver, index, node) is not None and (value.spread.alike or value.spread.kind is Kind.EACH)


# What a loop makes of them


def added(walk: Walk, target: ast.expr, op: ast.operator, held: Value, more: Value) -> Value | None:
    """Give what a sum over the samples is after one more; None where no such sum is added to."""
    sampling = walk.sampling
    if (
        sampling is None
        or not isinstance(op, ast.Add | ast.Sub)
        or (walk.frame, walk.context) != (sampling.frame, sampling.context)
        or ast.unparse(target) not in sampling.adds
        or held.items is not None
        or any(not isinstance(thing, Constant) for thing in held.things)
    ):
        return None
    one, other = held.spread, walk.state.deep_spread(more)
    if one.kind is Kind.ALIKE:
        message = "what adds up over the samples begins with a constant"
        return tensor(mixed("HR303", message, target, sampling.spread), number=held.number)
    if not (other.alike or other.kind is Kind.EACH) or one.kind not in (Kind.ZERO, Kind.COUNT, Kind.SUM, Kind.TOTAL):
        return tensor(mixed("HR305", "what adds up over the samples is not one sample's", target, one, other))
    if sampling.parted and one.kind is Kind.ZERO and held.things and not more.number:
        return tensor(mixed("HR305", NONE, target, sampling.spread))
    counts = other.alike and not sampling.parted and one.kind in (Kind.ZERO, Kind.COUNT)
    kind = Kind.TOTAL if one.kind is Kind.TOTAL else Kind.COUNT if counts else Kind.SUM
    number = held.number and more.number
    return Value(Spread(kind, one.loaders | sampling.spread.loaders), number=number)


def age(sampling: Sampling, state: State) -> None:
    """Turn what one turn of the loop leaves to the next into what is not followed."""
    _change(sampling, state, lambda held: _left(sampling, held) if held.spread.kind is Kind.EACH else held)


def settle(sampling: Sampling, state: State, *, broken: bool) -> None:
    """Turn what the loop leaves into what it is to those who come after it; ``broken`` where it ends early."""
    whole = None if sampling.parted else 0

    def left(held: Value) -> Value:
        ends = held.spread.kind in (Kind.EACH, Kind.COUNT, Kind.SUM, Kind.TOTAL)
        if held.spread.kind is Kind.EACH or Place() in held.things or (broken and ends):
            return _left(sampling, held)
        return held

    for owner, names in list(state.cells.items()):
        if not isinstance(owner, Box) or names is sampling.before.cells.get(owner):
            continue
        for name, held in list(names.items()):
            if held.spread.kind is Kind.EACH:
                fits = _grows(sampling, owner) and not broken
                state.set(owner, name, as_entry(held, whole) if fits else _left(sampling, held))
    _change(sampling, state, left)


def as_entry(value: Value, axis: int | None) -> Value:
    """Give a value of one sample as an entry of a list, where it has one for each, or (no axis) for some."""
    items = None if value.items is None else tuple(as_entry(item, axis) for item in value.items)
    loaders = frozenset().union(*(part.spread.loaders for part in parts(value) if of_sample(part)))
    if Place() in value.things or value.spread.kind is Kind.MIXED or not (loaders or value.spread.kind is Kind.EACH):
        return replace(value, items=items)
    return replace(value, spread=Spread(Kind.LISTED, loaders, axis), items=items)


def deciding(spread: Spread) -> Spread:
    """Give how a test decides which entries a comprehension keeps: only a sample's own parts those of the samples."""
    return spread if spread.kind is Kind.EACH else ALIKE


def _left(sampling: Sampling, held: Value) -> Value:
    """Give what is left of one sample."""
    spread = mixed("HR305", LEFT, sampling.node, replace(held.spread, kind=Kind.SUM), sampling.spread)
    return replace(held, spread=spread, things=held.things - {Place()})


def _change(sampling: Sampling, state: State, change: Callable[[Value], Value]) -> None:
    """Change what cells hold that the loop has written to; the elements of lists are left to :func:`settle`."""

    def deep(held: Value) -> Value:
        if held.items is not None:
            held = replace(held, items=tuple(deep(item) for item in held.items))
        return change(held)

    for owner, names in list(state.cells.items()):
        if isinstance(owner, Box) or names is sampling.before.cells.get(owner):
            continue
        for name, held in list(names.items()):
            new = deep(held)
            if new != held:
                state.set(owner, name, new)


def _grows(sampling: Sampling, box: Box) -> bool:
    """Whether a container is a list that was made before the loop, in the same call."""
    site = box.site
    is_list = isinstance(site, ast.List | ast.ListComp) or (
        isinstance(site, ast.Call) and isinstance(site.func, ast.Name) and site.func.id in _LISTS
    )
    return is_list and box.context == sampling.context and all(site is not one for one in ast.walk(sampling.node))
