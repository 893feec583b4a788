"""What shapes and indices do to entries of samples: which axis counts the samples, and what is picked out of them."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from hora.convert import access, written
from hora.convert.arguments import Arguments, literal
from hora.convert.spread import ALIKE, ENTRIES, Full, Kind, Reason, Spread, mixed, nonlinear, spoiled
from hora.convert.values import Box, Constant, Positions, Shape, Shuffled, Start, Stream, Value, of, tensor

if TYPE_CHECKING:
    from hora.convert.walk import Walk

LAID_OUT = "a shape uses the batch size of the loader"
ANYWHERE = 1000
"""Stands for an axis that is not known."""


def split(walk: Walk, spread: Spread, values: tuple[Value, ...], arguments: Arguments) -> Value:
    """Give the parts of a tensor, cut along an axis."""
    name = getattr(arguments.node.func, "attr", "split()")
    axes = axes_of(axis_of(values, arguments, 1 if name == "unbind" else 2)) or frozenset({0})
    if among(spread.axis, axes):
        part = tensor(mixed("HR305", f"{name}() takes the samples of the batch apart", arguments.node, spread))
    else:
        part = tensor(replace(spread, axis=None) if name == "unbind" else spread)
    return of(Stream(arguments.node, walk.context, part))


def turned(spread: Spread) -> Spread:
    """Give the spread of a transposed matrix."""
    if spread.kind in ENTRIES and spread.axis in (0, 1):
        return replace(spread, axis=1 - spread.axis)
    return spread


def swapped(spread: Spread, values: tuple[Value, ...], name: str, node: ast.AST) -> Spread:
    """Give the spread after axes change places."""
    if spread.kind not in ENTRIES or spread.axis is None:
        return spread
    flat = [one for value in values[1:] for one in (value.items if value.items is not None else (value,))]
    order = [literal(one) for one in flat]
    if name == "permute" and spread.axis in order:
        return replace(spread, axis=order.index(spread.axis))
    if name in ("transpose", "swapaxes") and len(order) == 2 and all(isinstance(one, int) for one in order):
        one, other = order
        if spread.axis not in (one, other):
            return (
                spread
                if all(isinstance(o, int) and o > 0 for o in order) or (spread.axis == 0 and 0 not in order)
                else replace(spread, axis=None)
            )
        at = other if one == spread.axis else one
        return replace(spread, axis=at if isinstance(at, int) and at >= 0 else None)
    return replace(spread, axis=None)


def shaped(walk: Walk, spread: Spread, sizes: tuple[Value, ...], node: ast.AST, name: str, sized: bool) -> Spread:
    """Give the spread of a tensor in another shape."""
    if sized:
        return mixed("HR207", LAID_OUT, node, spread)
    if spread.kind not in ENTRIES or (name == "flatten" and sizes and literal(sizes[0]) != 0):
        return spread
    flat = [one for size in sizes for one in (size.items if size.items is not None else (size,))]
    if flat and literal(flat[0]) in walk.sizes:
        return mixed("HR207", LAID_OUT, node, spread)
    if not flat or (len(flat) == 1 and (literal(flat[0]) == -1 or name == "flatten")):
        return replace(spread, axis=0, flat=True)
    spread = replace(spread, flat=False)
    if flat and spread.axis == 0 and (literal(flat[0]) == -1 or flat[0].spread.kind is Kind.COUNT):
        return spread
    for axis, one in enumerate(flat):
        if one.spread.kind is Kind.COUNT:
            return replace(spread, axis=axis)
    if spread.axis == 0 and (_fixed(flat[0]) or _given(flat[0])):
        return mixed("HR305", f"{name}() lays several samples of the batch side by side", node, spread)
    return replace(spread, axis=None)


def _fixed(size: Value) -> bool:
    """Whether a size is a number above one that is written there: an axis of one is only put in front."""
    number = literal(size)
    return isinstance(number, int) and not isinstance(number, bool) and number > 1


def _given(size: Value) -> bool:
    """Whether a size is a number that all workers have alike, such as an option, and so is not that of a slice."""
    told = not size.things or size.setting
    return literal(size) is None and size.spread.alike and not size.sized and told


def subscript(walk: Walk, receiver: Value, node: ast.Subscript, index: Value) -> Value:
    """Give a part of a tensor."""
    spread = receiver.spread
    inside = access.index_spread(walk, index)
    if spread.full and not inside.alike:
        return tensor(_taken(walk, spread, inside, node))
    if spread.kind not in ENTRIES:
        if not spread.local and (own := _own_slice(walk, node.slice)):
            return tensor(own)
        if not spread.local and inside.kind in (Kind.COUNT, Kind.SUM):
            written.counted(walk, receiver, inside)
            message = "as many entries as the slice has samples are taken from what all workers hold alike"
            return tensor(mixed("HR207", message, node, inside))
        if spread.kind is Kind.OWN and inside.local:
            return tensor(spoiled(spread, inside))
        if not spread.local and inside.kind in (*ENTRIES, Kind.MIXED):
            return tensor(
                replace(inside, axis=_axis_taken(walk, node.slice) if inside.kind is not Kind.MIXED else None)
            )
        if spread.kind is Kind.EACH and inside.local:
            return tensor(nonlinear((spread, inside), node, "an index"))
        return Value(spread, number=receiver.number) if spread.local else access.tinted(receiver, inside)
    if spread.kind is Kind.ROWS and spread.axis == 0 and _partners(index):
        walk.state.trace.note(walk.facts.partners, (node, walk.context), walk.place)
    if inside.kind in (Kind.MIXED, Kind.OWN):
        return tensor(spoiled(spread, inside))
    if inside.kind is Kind.EACH:
        return tensor(nonlinear((spread, inside), node, "an index"))
    indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return tensor(_picked(walk, spread, inside, indices, node))


def offset(op: ast.operator, left: Value, right: Value) -> Value | None:
    """Give places that are moved sample by sample, to pick from entries that are laid end to end; None for any other.

    That is ``arange(len(x)) * entries + picked``: what is added differs from sample to sample, as what is picked does.
    """
    for places, other in ((left, right), (right, left)):
        if places.things != {Positions()}:
            continue
        if isinstance(op, ast.Mult) and other.spread.alike and not other.sized:
            return replace(places, items=None)
        if isinstance(op, ast.Add) and other.spread.kind is Kind.ROWS:
            return replace(places, items=None)
    return None


def _partners(index: Value) -> bool:
    """Whether an index takes another sample for each, by the first of its places."""
    several = index.items if index.items is not None else (index,)
    return [Shuffled() in one.things for one in several] == [place == 0 for place, _ in enumerate(several)]


def _own_slice(walk: Walk, node: ast.expr) -> Spread | None:
    """Give the spread of a slice that begins and ends where the worker's slice of the batch does."""
    if isinstance(node, ast.Tuple) and all(map(_whole, node.elts[1:])):
        node = node.elts[0]
    if (
        not isinstance(node, ast.Slice)
        or node.lower is None
        or node.upper is None
        or Start() not in walk.value(node.lower).things
    ):
        return None
    end = walk.value(node.upper)
    return Spread(Kind.ROWS, end.spread.loaders, 0) if Start() in end.things and end.spread.local else None


def _axis_taken(walk: Walk, index: ast.expr) -> int | None:
    """Give the axis that entries are taken along, one for each sample; None where that is not to be seen."""
    if not isinstance(index, ast.Tuple):
        return 0
    taking = [place for place, one in enumerate(index.elts) if walk.value(one).spread.local]
    whole = all(_whole(one) for place, one in enumerate(index.elts) if place not in taking)
    return taking[0] if len(taking) == 1 and whole else 0 if taking[:1] == [0] else None


def _taken(walk: Walk, spread: Spread, inside: Spread, node: ast.Subscript) -> Spread:
    """Give the spread of what is taken for a slice of the batch from what is made as large as the batch."""
    full = spread.unsliced
    assert full is not None
    leading = spread.kind is Kind.ROWS and spread.axis == 0
    if leading and (own := _own_slice(walk, node.slice)):
        return own
    indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if not leading or not _all_of_batch(walk, indices[0]) or not all(map(_whole, indices[1:])):
        return Spread(Kind.MIXED, inside.loaders | spread.loaders, why=full.why)
    if full.uniform:
        walk.facts.uniform[node, walk.context] = full.why.node
        return Spread(Kind.ROWS, inside.loaders, 0)
    return mixed(
        "HR207", "as many entries as the slice has samples are taken from what all workers hold alike", node, inside
    )


def _picked(walk: Walk, spread: Spread, inside: Spread, indices: list[ast.expr], node: ast.AST) -> Spread:
    """Give the spread of a part of the entries."""
    added = sum(isinstance(index, ast.Constant) and index.value is None for index in indices)
    if inside.kind in ENTRIES:
        paired = inside.kind is Kind.ROWS and len(indices) > 1
        return replace(spread, kind=spread.kind if paired else Kind.RAGGED, axis=0)
    axis = spread.axis
    if axis is None or any(isinstance(index, ast.Constant) and index.value is ... for index in indices):
        return spread if spread.axis == 0 and not isinstance(indices[0], ast.Constant) else replace(spread, axis=None)
    real = [index for index in indices if not (isinstance(index, ast.Constant) and index.value is None)]
    if added:
        before = next((place for place, index in enumerate(indices) if index in real), len(indices))
        return replace(spread, axis=axis + before if all(_whole(index) for index in real) else None)
    dropped = sum(not isinstance(index, ast.Slice) for index in real[:axis])
    if len(real) <= axis or _whole(real[axis]) or _all_of_batch(walk, real[axis]):
        return replace(spread, axis=axis - dropped)
    return mixed("HR305", "samples are picked out of the batch by their place", node, spread)


def _whole(index: ast.expr) -> bool:
    """Whether an index takes a whole axis."""
    return isinstance(index, ast.Slice) and index.lower is None and index.upper is None and index.step is None


def _all_of_batch(walk: Walk, index: ast.expr) -> bool:
    """Whether an index takes as many entries as the batch has."""
    if isinstance(index, ast.Slice) and index.lower is None and index.upper is not None:
        return walk.value(index.upper).spread.kind is Kind.COUNT
    return False


def axis_of(values: tuple[Value, ...], arguments: Arguments, position: int = 1) -> Value | None:
    """Give the axis argument."""
    for name, value in arguments.keywords:
        if name in ("dim", "axis"):
            return value
    return values[position] if len(values) > position else None


def axes_of(value: Value | None, rank: int | None = None) -> frozenset[int] | None:
    """Give the axes that are meant, `ANYWHERE` among them for one that is not known; None for all of them.

    Counted from the end of how many axes it is not known, the last two are taken to be no axis of samples: before them
    may come that axis or others.
    """
    if value is None or value.things == {Constant(None, "NoneType")}:
        return None
    held = [one for one in value.things if isinstance(one, Constant)]
    several = value.items if value.items is not None else [of(one) for one in held] if held else [value]
    found = [literal(one) for one in several]
    if rank is not None:
        found = [one + rank if isinstance(one, int) and -rank <= one < 0 else one for one in found]
    known = {one for one in found if isinstance(one, int) and not isinstance(one, bool)}
    unread = len(held) < len(value.things) or not found or any(one not in known or one < -2 for one in found)
    return frozenset(known | {ANYWHERE} if unread else known)


def among(axis: int | None, axes: frozenset[int]) -> bool:
    """Whether the axis of samples may be among these."""
    return (axis or 0) in axes or ANYWHERE in axes


def lowered(spread: Spread, axes: frozenset[int], kept: bool | None = False) -> Spread:
    """Give the spread of what is left where axes are taken away: the samples are counted by an earlier one.

    ``kept``: whether the axes stay, with one entry; None where that is not known.
    """
    before = sum(0 <= axis < (spread.axis or 0) for axis in axes)
    if not before or kept:
        return spread
    return replace(spread, axis=None if kept is None or spread.axis is None else spread.axis - before)


def keeps(values: tuple[Value, ...], arguments: Arguments, position: int) -> bool | None:
    """Whether an operation is told to keep the axes that it goes along; None where that is not known."""
    found = next((value for name, value in arguments.keywords if name in ("keepdim", "keepdims")), None)
    found = found or (values[position] if len(values) > position else None)
    told = literal(found) if found is not None else False
    return told if isinstance(told, bool) else None


def dimension(shape: Value, index: Value, node: ast.AST) -> Value:
    """Give one size of a tensor."""
    for thing in shape.things:
        if isinstance(thing, Shape):
            position = literal(index)
            return access.size(shape, thing, position if isinstance(position, int) else None, node)
    return tensor(shape.spread if shape.spread.kind is Kind.MIXED else ALIKE, number=True)


def _sizes(walk: Walk, size: Value) -> tuple[Value, ...]:
    """Give the sizes of each axis."""
    if size.items is not None:
        return size.items
    boxes = [thing for thing in size.things if isinstance(thing, Box)]
    return tuple(walk.state.held(boxes[0]).values()) if len(boxes) == 1 else (size,)


def made(walk: Walk, sizes: tuple[Value, ...], node: ast.AST, content: Spread, *, uniform: bool = False) -> Spread:
    """Give the spread of a tensor made with the given sizes; ``uniform`` where all of its entries are the same."""
    flat = [item for size in sizes for item in _sizes(walk, size)]
    if any(size.sized for size in flat):
        why = Reason("HR207", "a tensor is made as large as the batch size that the loader was given", node)
        axes = [axis for axis, size in enumerate(flat) if size.sized]
        if len(axes) > 1 or not content.alike or any(size.spread.local for size in flat):
            return Spread(Kind.MIXED, why=why)
        return Spread(Kind.ROWS, frozenset({Full(why, uniform)}), axes[0])
    if flat and literal(flat[0]) in walk.sizes and walk.loops:
        message = f"a tensor is made of {literal(flat[0])} entries, which is the batch size of a loader"
        return Spread(Kind.MIXED, why=Reason("HR207", message, node))
    for axis, size in enumerate(flat):
        if size.spread.kind is Kind.COUNT:
            if content.kind in ENTRIES:
                return mixed("HR305", "each sample of the batch is repeated for each other", node, content)
            if not content.local:
                return Spread(Kind.ROWS, size.spread.loaders, axis)
        if any(isinstance(thing, Shape) for thing in size.things):
            thing = next(thing for thing in size.things if isinstance(thing, Shape))
            return replace(size.spread, axis=thing.axis)
        if size.spread.kind is Kind.EACH and (content.kind is Kind.EACH or not content.local):
            return size.spread
        if size.spread.local:
            return mixed("HR207", "a tensor is made in a size that is not followed", node, size.spread)
    return content
