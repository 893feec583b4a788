"""Reach into values: attributes, elements, what iterating hands out, and storing into them."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from hora.convert import (
    assumptions,
    calls,
    choices,
    gradients,
    listings,
    names,
    networks,
    samples,
    sequences,
    shapes,
    tensors,
)
from hora.convert.arguments import literal
from hora.convert.facts import KEPT, STORED
from hora.convert.memory import ANY, either
from hora.convert.spread import ALIKE, ENTRIES, Kind, Spread, field, mixed, varied
from hora.convert.spread import join as join_spreads
from hora.convert.values import (
    NUMBER,
    UNKNOWN,
    Batch,
    Box,
    Class,
    Constant,
    Distribution,
    Foreign,
    Function,
    Instance,
    Loader,
    Method,
    Module,
    Named,
    Optimizer,
    Package,
    Packed,
    Parameters,
    Place,
    Positions,
    Rank,
    Shape,
    Shuffled,
    Start,
    Stream,
    Super,
    Thing,
    Value,
    Weights,
    of,
    ordered,
    tensor,
)

if TYPE_CHECKING:
    from hora.convert.walk import Walk

GROUPS = "param_groups"

_PLAIN = (Batch, Shape, Constant, Place, Positions, Shuffled, Distribution, Packed, Start, Rank)
_PACKED: dict[int | None, str] = {0: "data", 1: "batch_sizes", 2: "sorted_indices", 3: "unsorted_indices"}
"""The parts of a packed sequence, by their places."""


def tinted(value: Value, spread: Spread) -> Value:
    """Give a value that another one decided or carried: it spreads as both do."""
    return value if spread.alike else replace(value, spread=join_spreads(value.spread, spread))


def parting(*values: Value) -> Spread:
    """Give what makes one worker go through some values more often than another."""
    return next((value.spread for value in values if value.spread.kind is Kind.OWN), ALIKE)


def elements(walk: Walk, value: Value, node: ast.AST) -> tuple[Value, frozenset[Loader]]:
    """Give what iterating over a value hands out, and the loaders that it draws from."""
    if value.items is not None:
        return either(value.items), frozenset()
    sample = samples.element(walk, value, node)
    if sample is not None:
        return sample, frozenset()
    loaders = frozenset(thing for thing in value.things if isinstance(thing, Loader))
    if loaders and len(loaders) == len(value.things):
        batches = [walk.batch(loader) for loader in loaders]
        if len(batches) == 1:
            return batches[0], loaders
        if all(batch.spread.kind is Kind.ROWS for batch in batches):
            axes = {batch.spread.axis for batch in batches}
            axis = axes.pop() if len(axes) == 1 else None
            return Value(Spread(Kind.ROWS, frozenset(loaders), axis), frozenset({Batch()})), loaders
        return either(batches), loaders
    found: list[Value] = []
    for thing in ordered(value.things):
        one, drawn = _elements_of(walk, thing, value, node)
        found.append(one)
        loaders |= drawn
    result = either(found)
    if value.spread.local and not loaders and not any(isinstance(thing, Batch) for thing in value.things):
        return tensor(mixed("HR305", samples.ONE_BY_ONE, node, value.spread)), loaders
    result = listings.unlisted(walk, result, node)
    return tinted(result, value.spread) if not value.spread.local else result, loaders


def _elements_of(walk: Walk, thing: Thing, value: Value, node: ast.AST) -> tuple[Value, frozenset[Loader]]:
    """Give what iterating over a thing hands out."""
    if isinstance(thing, Loader):
        return walk.batch(thing), frozenset({thing})
    if isinstance(thing, Stream):
        return thing.element, thing.loaders
    if isinstance(thing, Box | Module):
        return walk.state.element(thing, None), frozenset()
    if isinstance(thing, Parameters):
        return Value(things=frozenset({thing})), frozenset()
    if isinstance(thing, Batch):
        return tensor(field(value.spread)), frozenset()
    if isinstance(thing, Method) and thing.name == GROUPS:
        return of(thing), frozenset()
    if isinstance(thing, Instance):
        made = calls.method(walk, thing, "__iter__", node)
        if made is not None and thing not in made.things:
            return elements(walk, made, node)
        made = calls.method(walk, thing, "__next__", node)
        if made is not None:
            return made, frozenset()
    return UNKNOWN, frozenset()


def item(walk: Walk, value: Value, index: int, count: int, node: ast.AST) -> Value:
    """Give one element of a value that is unpacked into ``count``."""
    if value.items is not None:
        return value.items[index] if len(value.items) == count else either(value.items)
    found: list[Value] = []
    for thing in ordered(value.things):
        if isinstance(thing, Box):
            found.append(walk.state.element(thing, f"[{index}]"))
        elif isinstance(thing, Batch):
            found.append(tensor(field(value.spread)))
        elif isinstance(thing, Packed):
            found.append(sequences.attribute(value, _PACKED.get(index, "entry"), node))
        elif isinstance(thing, Shape):
            found.append(size(value, thing, index, node))
        elif not isinstance(thing, Constant):
            one, loaders = elements(walk, of(thing), node)
            walk.draw(node, loaders)
            found.append(one)
    if found:
        return tinted(either(found), value.spread) if not value.spread.local else either(found)
    if value.spread.kind in (Kind.ROWS, Kind.RAGGED) and value.spread.axis == 0:
        return tensor(mixed("HR305", "the samples of the batch are taken apart", node, value.spread))
    return tensor(value.spread, number=value.number)


def attribute(walk: Walk, receiver: Value, name: str, node: ast.AST) -> Value:
    """Give an attribute of a value."""
    found = [_attribute_of(walk, thing, name, node) for thing in ordered(receiver.things) if not is_plain(thing)]
    if not found and receiver.items is not None and name in ("values", "indices"):
        return receiver.items[name == "indices"] if len(receiver.items) == 2 else either(receiver.items)
    if not found and receiver.items is not None and name not in ("count", "index", "append"):
        return either(receiver.items)
    if not found:
        return tensors.attribute(receiver, name, node)
    result = either(found)
    return tinted(result, receiver.spread) if not result.spread.local else result


def is_plain(thing: Thing) -> bool:
    """Whether a thing's attributes are those of tensors and numbers."""
    return isinstance(thing, _PLAIN)


def _attribute_of(walk: Walk, thing: Thing, name: str, node: ast.AST) -> Value:
    """Give an attribute of a thing."""
    held = walk.state.get(thing, name)
    if held is not None:
        return held
    if isinstance(thing, Named):
        # Modules of torch import it: torch.sparse.torch is torch. Hora's runtime is called so, too.
        outer = name == "torch" and thing.name != "hora"
        return of(Named("torch" if outer else f"{thing.name}.{name}"))
    if isinstance(thing, Package) and name == "__dict__":
        return of(thing)
    if isinstance(thing, Package):
        return walk.state.get(thing.frame, name) or _submodule(walk, thing, name)
    if isinstance(thing, Instance | Super | Class):
        member = calls.member(walk, thing, name)
        if member is not None:
            return _bound(walk, thing, member, node)
        if isinstance(thing, Class):
            return of(Method(thing, name)) if gradients.is_function(thing) and name == "apply" else UNKNOWN
    if isinstance(thing, Stream) and thing.iterates and name in ("weight", "first", "total", "gather"):
        return either(walk.loader_attribute(loader, name) for loader in thing.loaders)
    if isinstance(thing, Loader):
        return walk.loader_attribute(thing, name)
    if isinstance(thing, Parameters) and name in ("data", "grad"):
        return of(thing)
    if isinstance(thing, Function):
        return UNKNOWN
    if isinstance(thing, Module) and name[:1].islower() and name in ("weight", "bias"):
        return of(Parameters(thing))
    if name in ("module", "_modules") and networks.is_module(thing):
        return of(thing)
    if name not in names.MODULE_METHODS and walk.state.get(thing, networks.BUFFERS) is not None:
        return UNKNOWN
    return Value(things=frozenset({Method(thing, name)}), setting=assumptions.is_options(thing))


def _submodule(walk: Walk, package: Package, name: str) -> Value:
    """Give a module of a package of the script's own."""
    with walk.inside(package.frame, (), None):
        found = walk.load(name, 1)
    return of(found) if found is not None else of(Named(f"{package.path.parent.name}.{name}"))


def _bound(walk: Walk, thing: Instance | Super | Class, member: Value, node: ast.AST) -> Value:
    """Bind a class's member to the object that it was taken from."""
    receiver = thing.receiver if isinstance(thing, Super) else thing
    found: list[Value] = []
    for one in ordered(member.things):
        if isinstance(one, Function) and isinstance(one.node, ast.FunctionDef | ast.AsyncFunctionDef):
            marks = {mark.id for mark in one.node.decorator_list if isinstance(mark, ast.Name)}
            if "staticmethod" in marks or (isinstance(receiver, Class) and "classmethod" not in marks):
                found.append(of(one))
            elif marks & {"property", "cached_property"}:
                found.append(calls.inline(walk, replace(one, bound=receiver), node, (), ()))
            else:
                found.append(of(replace(one, bound=receiver)))
        else:
            found.append(of(one))
    return tinted(either(found), member.spread) if found else member


def store_attribute(walk: Walk, target: ast.Attribute, value: Value, origin: ast.expr | None = None) -> None:
    """Put the value of ``origin`` in an attribute."""
    receiver = walk.value(target.value)
    buffer = any(target.attr in walk.facts.buffers.get(thing, ()) for thing in receiver.things)
    parameter = target.attr == "data" and any(isinstance(thing, Parameters) for thing in receiver.things)
    if (buffer or parameter) and walk.state.deep_spread(value).local:
        walk.escape(target, ((origin or target, value),), STORED)
    if not receiver.things and value.spread.local:
        walk.escape(target, ((target, value),), "is stored where it is not followed")
    for thing in ordered(receiver.things):
        if len(receiver.things) == 1 and isinstance(thing, Instance | Foreign):
            walk.state.set(thing, target.attr, value)
        else:
            walk.state.add(thing, target.attr, value)
        walk.facts.bind(thing, target.attr, value)


def store_item(walk: Walk, target: ast.Subscript, value: Value, origin: ast.expr | None = None) -> None:
    """Put the value of ``origin`` in an element."""
    receiver, index = walk.value(target.value), walk.value(target.slice)
    if samples.keeps(walk, receiver, index, target.slice, value):
        return
    name = key(index)
    if origin is not None and name is None and value.number and value.spread.reducible:
        walk.escape(target, ((origin, value),), KEPT)
    for thing in ordered(receiver.things):
        if isinstance(thing, Method) and thing.name == GROUPS:
            if not value.spread.alike:
                walk.escape(target, ((target, value),), "sets an option of the optimizer", decides=True)
        elif assumptions.is_options(thing) and isinstance(literal(index), str):
            walk.state.set(thing, str(literal(index)), value)
        elif isinstance(thing, Box | Foreign | Named | Module | Instance):
            if name is not None and len(receiver.things) == 1:
                walk.state.set(thing, name, value)
            else:
                walk.state.add(thing, ANY, value)
            walk.facts.bind(thing, name or ANY, value)
        elif isinstance(thing, Optimizer | Weights):
            continue
    if all(is_plain(thing) for thing in receiver.things) and isinstance(target.value, ast.Name | ast.Attribute):
        spread, inside = join_spreads(receiver.spread, value.spread), index_spread(walk, index)
        walk.alter(receiver)
        if receiver.spread.full and value.spread.alike and not inside.local:
            spread = varied(receiver.spread)
        elif receiver.spread.kind in ENTRIES:
            # Writing to a sample by its place picks it as reading does.
            taken = shapes.subscript(walk, receiver, target, index).spread
            spread = taken if taken.kind is Kind.MIXED else spread
        elif inside.kind is Kind.OWN and spread.alike:
            # Where a worker has found a place for itself, what it has put there is its own.
            spread = inside
        elif inside.local and spread.alike:
            message = "entries are written in places that the samples tell"
            spread = mixed("HR305", message, target, inside)
        if receiver.spread != spread:
            walk.assign(target.value, replace(receiver, spread=spread))


def subscript(walk: Walk, node: ast.Subscript) -> Value:
    """Give an element or a slice."""
    receiver, index = walk.value(node.value), walk.value(node.slice)
    sample = samples.picked(walk, receiver, index, node.slice)
    if sample is not None:
        return sample
    name, place = key(index), literal(index)
    position = place if isinstance(place, int) else None
    if receiver.items is not None:
        if isinstance(node.slice, ast.Slice):
            return replace(receiver, items=receiver.items[_bounds(node.slice)])
        if position is not None and -len(receiver.items) <= position < len(receiver.items):
            return receiver.items[position]
        return tinted(either(receiver.items), index.spread)
    found: list[Value] = []
    for thing in ordered(receiver.things):
        if assumptions.is_options(thing) and isinstance(place, str):
            found.append(_attribute_of(walk, thing, place, node))
        elif isinstance(thing, Box | Foreign | Named):
            held = walk.state.held(thing)
            if isinstance(node.slice, ast.Slice) and listings.listed(walk, of(thing)) is not None:
                several = walk.state.deep_spread(of(thing))
                return tensor(mixed("HR305", "some entries of a list of the samples are taken", node, several))
            found.append(
                of(thing) if isinstance(node.slice, ast.Slice) or not held else walk.state.element(thing, name)
            )
        elif isinstance(thing, Module):
            found.append(
                walk.state.element(thing, name) if walk.state.held(thing) else of(Module(node, walk.context, "part"))
            )
        elif isinstance(thing, Package):
            found.append(
                _attribute_of(walk, thing, place, node) if isinstance(place, str) else choices.of_module(walk, thing)
            )
        elif isinstance(thing, Batch):
            found.append(tensor(field(receiver.spread)))
        elif isinstance(thing, Packed):
            found.append(sequences.attribute(receiver, _PACKED.get(position, "entry"), node))
        elif isinstance(thing, Shape):
            part = sizes(receiver, thing, node.slice, node) if isinstance(node.slice, ast.Slice) else None
            found.append(part or size(receiver, thing, position, node))
        elif isinstance(thing, Method) and thing.name == GROUPS:
            found.append(of(thing) if not isinstance(place, str) else UNKNOWN)
        elif isinstance(thing, Parameters | Weights):
            found.append(of(thing))
        elif isinstance(thing, Instance):
            found.append(calls.method(walk, thing, "__getitem__", node, (index,)) or UNKNOWN)
    if not found:
        return shapes.subscript(walk, receiver, node, index)
    inside = index_spread(walk, index)
    if inside.kind in (Kind.ROWS, Kind.RAGGED) and not receiver.spread.local:
        return tensor(replace(inside, axis=0))
    result = tinted(either(found), inside)
    return result if receiver.spread.local else tinted(result, receiver.spread)


def index_spread(walk: Walk, index: Value) -> Spread:
    """Give how an index spreads: of several, as the first that does not come alike."""
    several = index.items if index.items is not None else (index,)
    parts = [
        replace(one.spread, kind=Kind.ROWS, axis=0, why=None)
        if Positions() in one.things
        else walk.state.deep_spread(one)
        for one in several
    ]
    entries = [part for part in parts if part.kind in ENTRIES]
    return next((part for part in (*entries, *parts) if not part.alike), ALIKE)


def _bounds(node: ast.Slice) -> slice:
    """Give a literal slice; the whole where it is not literal."""
    bounds: list[int | None] = []
    for part in (node.lower, node.upper, node.step):
        try:
            bounds.append(None if part is None else int(ast.literal_eval(part)))
        except (ValueError, TypeError):
            bounds.append(None)
    return slice(*bounds)


def size(value: Value, shape: Shape, position: int | None, node: ast.AST) -> Value:
    """Give one number of a shape."""
    loaders = value.spread.loaders
    if shape.axis is not None and position == shape.axis and value.spread.kind is Kind.ROWS:
        return Value(Spread(Kind.COUNT, loaders, exact=True), number=True)
    if shape.axis is not None and position == shape.axis:
        return Value(Spread(Kind.SUM, loaders), number=True)
    if shape.axis is not None and position is not None:
        return NUMBER
    part = Spread(Kind.SUM, loaders)
    return tensor(mixed("HR207", "a size may or may not be that of the batch", node, part), number=True)


def sizes(value: Value, shape: Shape, part: ast.Slice, node: ast.AST) -> Value | None:
    """Give some numbers of a shape, as ``x.shape[2:]`` does; None where it is not to be seen which ones."""
    bounds = _bounds(part)
    unread = (part.lower is not None and bounds.start is None) or (part.upper is not None and bounds.stop is None)
    lower = bounds.start or 0
    if shape.axis is None or unread or part.step is not None or lower < 0:
        return None
    if bounds.stop is None:
        return tensor(ALIKE) if lower > shape.axis else None
    if bounds.stop < 0:
        return None
    return Value(items=tuple(size(value, shape, place, node) for place in range(lower, bounds.stop)))


def key(index: Value) -> str | None:
    """Give the name of the cell of a literal index."""
    if len(index.things) == 1:
        (thing,) = index.things
        if isinstance(thing, Constant):
            return f"[{thing.value!r}]"
    return None
