"""What Python's own functions and containers give."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from hora.convert import access, assumptions, calls, children, choices, containers, library, listings, networks, samples
from hora.convert.arguments import Arguments
from hora.convert.memory import ANY, either
from hora.convert.spread import ALIKE, ENTRIES, Kind, Spread, mixed, nonlinear, older, text
from hora.convert.spread import join as join_spreads
from hora.convert.values import (
    UNKNOWN,
    Batch,
    Box,
    Constant,
    Function,
    Instance,
    Loader,
    Named,
    Output,
    Package,
    Parameters,
    Shape,
    Stream,
    Super,
    Value,
    of,
    tensor,
)

if TYPE_CHECKING:
    from hora.convert.walk import Walk

SILENT = frozenset({
    "isinstance", "type", "hasattr", "callable", "id", "issubclass", "vars", "globals", "locals", "dir", "delattr",
    "exec", "eval", "object",
})  # fmt: skip


def call(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give what a function of Python gives."""
    node, values = arguments.node, arguments.values
    first = values[0] if values else UNKNOWN
    spread = walk.state.deep_spread(first)
    handler = _HANDLERS.get(name)
    if handler is not None:
        return handler(walk, arguments, first, spread)
    if name == "vars" and first.things and all(map(assumptions.is_options, first.things)):
        return first
    if name in SILENT or name.endswith(("Error", "Exception", "Warning")):
        return UNKNOWN
    if name in ("str", "repr", "format"):
        return tensor(text(spread, node))
    if name in ("exit", "quit"):
        walk.happen("exit", node)
        return UNKNOWN
    if name in ("max", "min", "abs", "round", "pow", "divmod", "any", "all", "bool", "sorted"):
        return _decide(walk, name, arguments)
    if name == "open":
        return of(Output(node, walk.context, "open"))
    return calls.not_followed(walk, arguments, name)


def _print(walk: Walk, arguments: Arguments, first: Value, spread: Spread) -> Value:
    """Note what is printed."""
    return library.speak(walk, "print", arguments)


def _len(walk: Walk, arguments: Arguments, first: Value, spread: Spread) -> Value:
    """Give the number of entries."""
    if any(isinstance(thing, Batch) for thing in first.things):
        part = mixed("HR601", "len() of a batch whose fields are not told apart", arguments.node, spread)
        return tensor(part if spread.local else spread, number=True)
    found = listings.number(walk, first)
    if found is not None:
        return Value(found, number=True)
    boxes = [thing for thing in first.things if isinstance(thing, Box)]
    known = containers.length(walk, boxes[0]) if len(boxes) == len(first.things) == 1 else None
    if known is not None and spread.alike:
        return Value(things=frozenset({Constant(known, "int")}), number=True)
    if first.items is not None or any(not access.is_plain(thing) for thing in first.things):
        return Value(first.spread if first.spread.kind is Kind.OWN else ALIKE, number=True)
    if spread.kind in ENTRIES and spread.axis in (0, None) and Shape not in map(type, first.things):
        rows = spread.kind is Kind.ROWS
        return Value(Spread(Kind.COUNT if rows else Kind.SUM, spread.loaders, exact=rows), number=True)
    return Value(spread if spread.kind in (Kind.OWN, Kind.EACH, Kind.MIXED) else ALIKE, number=True)


def _number(walk: Walk, arguments: Arguments, first: Value, spread: Spread) -> Value:
    """Give a value as a number."""
    rounded = getattr(arguments.node.func, "id", "") == "int" and spread.kind in (Kind.MEAN, Kind.SHARE, Kind.MEANS)
    if rounded:
        walk.escape(arguments.node, arguments.pairs, "is rounded")
        return tensor(mixed("HR305", "a mean is rounded", arguments.node, spread), number=True)
    return Value(spread, first.things, number=True, sized=first.sized, world=first.world)


def _sum(walk: Walk, arguments: Arguments, first: Value, spread: Spread) -> Value:
    """Give the sum of what a value holds."""
    found = listings.listed(walk, first)
    if found is not None:
        return listings.total(walk, first, found)
    if first.spread.kind in ENTRIES and not first.things:
        return Value(Spread(Kind.SUM, spread.loaders), number=first.number)
    element, loaders = access.elements(walk, first, arguments.node)
    inner = walk.state.deep_spread(element)
    if loaders and inner.local:
        return tensor(_summed_over_batches(inner))
    return Value(ALIKE if inner.kind is Kind.ZERO else inner, number=element.number)


def _summed_over_batches(spread: Spread) -> Spread:
    """Give the spread of a sum over all batches."""
    return older(spread, spread.loaders)


def _sequence(walk: Walk, arguments: Arguments, first: Value, spread: Spread) -> Value:
    """Give what ``list()``, ``iter()`` and the like make of a value."""
    name = getattr(arguments.node.func, "id", "")
    if not arguments.all and name in ("list", "set"):
        box = Box(arguments.node, walk.context)
        walk.state.forget(box)
        return of(box)
    if name == "set":
        return _decide(walk, name, arguments)
    if name == "reversed" and first.spread.kind in ENTRIES:
        return tensor(mixed("HR305", "the samples of the batch change their order", arguments.node, first.spread))
    same = first.only(Parameters) or first.only(Batch) or first.only(Shape)
    if first.items is not None or not first.things or same:
        return first
    element, loaders = access.elements(walk, first, arguments.node)
    if loaders and name != "iter":
        walk.draw(arguments.node, loaders)
        if walk.state.deep_spread(element).kind is not Kind.OWN:
            return tensor(mixed("HR601", "all batches are collected in a list", arguments.node, element.spread))
    if loaders and first.only(Loader):
        return of(Stream(arguments.node, walk.context, element, loaders, iterates=True))
    if loaders:
        return _stream(walk, arguments, element, loaders)
    if first.only(Stream) and name == "iter":
        return first
    box = Box(arguments.node, walk.context)
    element = listings.entry(walk, element, arguments.node, ordered=name != "reversed")
    walk.state.forget(box)
    walk.state.set(box, ANY, element)
    walk.facts.bind(box, ANY, element)
    return Value(access.parting(first), frozenset({box}))


def _stream(walk: Walk, arguments: Arguments, element: Value, loaders: frozenset[Loader] = frozenset()) -> Value:
    """Give a stream, which ends as early as what it is made of."""
    thing = Stream(arguments.node, walk.context, element, loaders)
    return Value(access.parting(*arguments.values), frozenset({thing}))


def streamed(walk: Walk, arguments: Arguments, value: Value, wrap: Callable[[Value], Value] | None = None) -> Value:
    """Give a stream over the elements of a value."""
    element, loaders = access.elements(walk, value, arguments.node)
    return _stream(walk, arguments, wrap(element) if wrap else element, loaders)


def chained(walk: Walk, arguments: Arguments) -> Value:
    """Give a stream over several values, one after the other."""
    parts = [access.elements(walk, value, arguments.node) for value in arguments.values]
    loaders: frozenset[Loader] = frozenset().union(*(drawn for _, drawn in parts))
    return _stream(walk, arguments, either(element for element, _ in parts), loaders)


def _enumerate(walk: Walk, arguments: Arguments, first: Value, spread: Spread) -> Value:
    """Give numbered elements."""
    return streamed(walk, arguments, first, lambda element: samples.numbered(walk, element, arguments.node))


def _zip(walk: Walk, arguments: Arguments, first: Value, spread: Spread) -> Value:
    """Give a stream over several values at once."""
    parts = [access.elements(walk, value, arguments.node) for value in arguments.values]
    loaders: frozenset[Loader] = frozenset().union(*(drawn for _, drawn in parts))
    together = samples.side_by_side(walk, tuple(element for element, _ in parts), arguments.node)
    return _stream(walk, arguments, Value(items=together), loaders)


def _next(walk: Walk, arguments: Arguments, first: Value, spread: Spread) -> Value:
    """Give the next element of a stream, of ``next()``."""
    return following(walk, first, arguments.node)


def following(walk: Walk, stream: Value, node: ast.AST) -> Value:
    """Give the next element of a stream."""
    element, loaders = access.elements(walk, stream, node)
    walk.draw(node, loaders)
    return element


def _filter(walk: Walk, arguments: Arguments, first: Value, spread: Spread) -> Value:
    """Give the elements that a function keeps."""
    if walk.state.deep_spread(arguments.values[-1]).kind in (*ENTRIES, Kind.LISTED):
        return tensor(mixed("HR305", samples.ONE_BY_ONE, arguments.node, walk.state.deep_spread(arguments.values[-1])))
    return arguments.values[1] if len(arguments.values) > 1 else UNKNOWN


def _map(walk: Walk, arguments: Arguments, first: Value, spread: Spread) -> Value:
    """Give what a function makes of each element."""
    parts = [access.elements(walk, value, arguments.node) for value in arguments.values[1:]]
    given = tuple(element for element, _ in parts)
    sampling = samples.begin(walk, arguments.node, Value(items=given))
    with samples.within(walk, sampling):
        made = [
            calls.inline(walk, function, arguments.node, given, ())
            for function in first.things
            if isinstance(function, Function)
        ]
    spreads = [walk.state.deep_spread(element) for element, _ in parts]
    result = either(made) if made else tensor(nonlinear(tuple(spreads), arguments.node, "map()"))
    result = listings.mapped(sampling, result)
    return _stream(walk, arguments, result, frozenset().union(*(drawn for _, drawn in parts)))


def _range(walk: Walk, arguments: Arguments, first: Value, spread: Spread) -> Value:
    """Give numbers, as many as are asked for."""
    spreads = [walk.state.deep_spread(value) for value in arguments.values]
    bound = ALIKE
    for one in spreads:
        bound = join_spreads(bound, one)
    place = samples.place(walk, spreads[0], arguments.node) if len(spreads) == 1 else None
    if place is not None:
        return _stream(walk, arguments, place)
    if bound.local and bound.kind is not Kind.EACH:
        bound = mixed("HR305", samples.ONE_BY_ONE, arguments.node, bound)
    if any(value.sized for value in arguments.values[:2]):
        bound = mixed("HR207", "a loop runs over the batch size that the loader was given", arguments.node)
    element = tensor(ALIKE if bound.kind is Kind.ZERO else bound, number=True)
    return _stream(walk, arguments, element)


def _super(walk: Walk, arguments: Arguments, first: Value, spread: Spread) -> Value:
    """Give the object that a method runs on, seen as its parents."""
    method = walk.frame
    owner = walk.outer.get(method)
    names = getattr(method.node, "args", None)
    name = names.args[0].arg if names is not None and names.args else "self"
    for thing in (walk.lookup(name) or UNKNOWN).things:
        if isinstance(thing, Instance) and owner is not None:
            for cls in thing.cls.lineage:
                if cls.node is owner.node:
                    return of(Super(thing, cls))
    return UNKNOWN


def _getattr(walk: Walk, arguments: Arguments, first: Value, spread: Spread) -> Value:
    """Give an attribute that a string names."""
    name = arguments.literal(1, "")
    if isinstance(name, str):
        return access.attribute(walk, first, name, arguments.node)
    for thing in first.things:
        if isinstance(thing, Package):
            return choices.of_module(walk, thing)
        if networks.is_module(thing):
            labels = arguments.node.args[1:2]
            return children.named(walk, thing, labels[0] if labels else None)
        if isinstance(thing, Named):
            return of(Named(f"{thing.name}.{'Optimizer' if thing.name == 'torch.optim' else 'something'}"))
    return UNKNOWN


def _setattr(walk: Walk, arguments: Arguments, first: Value, spread: Spread) -> Value:
    """Put a value in an attribute that a string names."""
    name = arguments.literal(1, "")
    for thing in first.things:
        if len(arguments.values) > 2:
            walk.state.add(thing, name if isinstance(name, str) else ANY, arguments.values[2])
    return UNKNOWN


def _dict(walk: Walk, arguments: Arguments, first: Value, spread: Spread) -> Value:
    """Make a dict."""
    box = Box(arguments.node, walk.context)
    walk.state.forget(box)
    for given in arguments.values:
        element, _ = access.elements(walk, given, arguments.node)
        walk.state.set(box, ANY, listings.entry(walk, element, arguments.node, ordered=False))
    for key, value in arguments.keywords:
        walk.state.set(box, f"[{key!r}]" if key else ANY, value)
        walk.facts.bind(box, f"[{key!r}]" if key else ANY, value)
    return of(box)


def _decide(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give what a function gives that is not linear in its arguments."""
    spreads = tuple(walk.state.deep_spread(value) for value in arguments.values)
    if name == "bool" and spreads and spreads[0].kind is Kind.WEIGHT:
        return Value(replace(spreads[0], kind=Kind.HELD), number=True)
    parts = tuple((node, value) for node, value in arguments.pairs if walk.state.deep_spread(value).reducible)
    walk.escape(arguments.node, parts, f"goes to {name}()")
    number = all(value.number for value in arguments.values)
    result = nonlinear(spreads, arguments.node, f"{name}()")
    if result.kind in ENTRIES and name in ("max", "min", "any", "all", "set", "sorted"):
        result = mixed("HR305", f"{name}() over the whole batch", arguments.node, result)
    return tensor(result, number=number)


_HANDLERS: dict[str, Callable[[Walk, Arguments, Value, Spread], Value]] = {
    "print": _print,
    "len": _len,
    "float": _number,
    "int": _number,
    "sum": _sum,
    "list": _sequence,
    "set": _sequence,
    "tuple": _sequence,
    "iter": _sequence,
    "reversed": _sequence,
    "enumerate": _enumerate,
    "zip": _zip,
    "next": _next,
    "filter": _filter,
    "map": _map,
    "range": _range,
    "super": _super,
    "getattr": _getattr,
    "setattr": _setattr,
    "dict": _dict,
}
