"""Lists, tuples, dicts and sets: how they are made, and what their methods do to what they hold."""

from __future__ import annotations

import ast
from contextlib import ExitStack
from typing import TYPE_CHECKING

from hora.convert import access, listings, samples
from hora.convert.arguments import Arguments, literal
from hora.convert.facts import KEPT
from hora.convert.memory import ANY
from hora.convert.spread import ALIKE, ENTRIES, ZERO, Kind, mixed
from hora.convert.spread import join as join_spreads
from hora.convert.values import UNKNOWN, Batch, Box, Frame, Loader, Named, Stream, Value, join, of, tensor

if TYPE_CHECKING:
    from hora.convert.walk import Walk


_MOVING = frozenset({"pop", "popleft", "insert", "remove", "sort", "reverse"})


def tuple_of(walk: Walk, node: ast.Tuple) -> Value:
    """Give a tuple."""
    stars = [place for place, element in enumerate(node.elts) if isinstance(element, ast.Starred)]
    if stars:
        pairs = [(f"[{place}]" if place < stars[0] else None, element) for place, element in enumerate(node.elts)]
        return _box(walk, node, pairs)
    return Value(items=tuple(walk.value(element) for element in node.elts))


def list_of(walk: Walk, node: ast.List | ast.Set) -> Value:
    """Give a list or a set."""
    return _box(walk, node, [(f"[{index}]", element) for index, element in enumerate(node.elts)])


def dict_of(walk: Walk, node: ast.Dict) -> Value:
    """Give a dict."""
    pairs = [
        (access.key(walk.value(name)) if name else None, value)
        for name, value in zip(node.keys, node.values, strict=True)
    ]
    return _box(walk, node, pairs)


def _box(walk: Walk, node: ast.expr, pairs: list[tuple[str | None, ast.expr]]) -> Value:
    """Make a container of elements."""
    box = Box(node, walk.context)
    held: dict[str, Value] = {}
    for name, element in pairs:
        inner = element.value if isinstance(element, ast.Starred) else element
        value = walk.value(inner)
        if isinstance(element, ast.Starred):
            value, name = access.elements(walk, value, inner)[0], None
        cell = name or ANY
        held[cell] = join(held[cell], value) if cell in held else value
    walk.state.forget(box)
    for cell, value in held.items():
        walk.state.set(box, cell, value)
        walk.facts.bind(box, cell, value)
    return of(box)


def _moved(walk: Walk, node: ast.expr) -> Value | None:
    """Give the batch whose parts ``[one.to(device) for one in batch]`` puts elsewhere; None where it does more."""
    if not isinstance(node, ast.ListComp | ast.GeneratorExp) or len(node.generators) > 1 or node.generators[0].ifs:
        return None
    part, here = node.generators[0], node.elt
    while isinstance(here, ast.Call) and isinstance(here.func, ast.Attribute) and here.func.attr in ("to", "cuda"):
        here = here.func.value
    if here is node.elt or not isinstance(here, ast.Name) or ast.unparse(part.target) != here.id:
        return None
    value = walk.value(part.iter)
    told = value.items is not None and all(one.spread.kind in ENTRIES for one in value.items)
    return value if told or value.only(Batch) else None


def collected(walk: Walk, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Value:
    """Give what a comprehension collects."""
    moved = _moved(walk, node)
    if moved is not None:
        return moved
    drawn: frozenset[Loader] = frozenset()
    parted = ALIKE
    loops = walk.loops
    with walk.inside(Frame(node, walk.context), walk.context, walk.frame), ExitStack() as inside:
        for part in node.generators:
            iterated = walk.value(part.iter)
            parted = join_spreads(parted, access.parting(iterated))
            element, loaders = access.elements(walk, iterated, part.iter)
            walk.loops = (*walk.loops, (node, walk.context)) if loaders else walk.loops
            walk.draw(node, loaders)
            drawn |= loaders
            sampling = samples.begin(walk, node, element)
            inside.enter_context(samples.within(walk, sampling))
            if sampling is None and not loaders:
                inside.enter_context(walk.decided(samples.turns(walk, iterated, element, part.iter) or ALIKE))
            walk.assign(part.target, element)
            for test in part.ifs:
                inside.enter_context(walk.decided(samples.deciding(walk.value(test).spread)))
        inside.enter_context(walk.decided(parted))
        if isinstance(node, ast.DictComp):
            walk.value(node.key)
        value = walk.value(node.value if isinstance(node, ast.DictComp) else node.elt)
        value = listings.collected(walk, value, node)
    walk.loops = loops
    if isinstance(node, ast.GeneratorExp):
        return Value(parted, frozenset({Stream(node, walk.context, value, drawn)}))
    if drawn and value.spread.local:
        value = tensor(mixed("HR601", "values of all batches are collected in a list", node, value.spread))
    box = Box(node, walk.context)
    walk.state.forget(box)
    walk.state.set(box, ANY, value)
    walk.facts.bind(box, ANY, value)
    return Value(parted, frozenset({box}))


def length(walk: Walk, box: Box) -> int | None:
    """Give how many elements a list has, where each is known by its place."""
    held = walk.state.held(box).keys()
    whole = isinstance(box.site, ast.List) and held == {f"[{place}]" for place in range(len(held))}
    return len(held) if whole else None


def _numbers(pair: tuple[ast.expr, Value]) -> tuple[tuple[ast.expr, Value], ...]:
    """Give those of a tuple of numbers, as it is written out, that can be reduced."""
    node, value = pair
    if not isinstance(node, ast.Tuple | ast.List) or value.items is None or len(node.elts) != len(value.items):
        return ()
    pairs = tuple(zip(node.elts, value.items, strict=True))
    return tuple((one, item) for one, item in pairs if item.number and item.spread.reducible)


def counter(walk: Walk, arguments: Arguments) -> Value:
    """Make a container of the library: one that counts holds zeros under every key."""
    box = Box(arguments.node, walk.context)
    walk.state.forget(box)
    maker = arguments.values[0].things if arguments.values else frozenset()
    counts = {Named("builtins.int"), Named("builtins.float")} & maker
    if counts or ast.unparse(arguments.node.func).endswith("Counter"):
        walk.state.set(box, ANY, Value(ZERO, number=True))
    return of(box)


def method(walk: Walk, box: Box, name: str, arguments: Arguments) -> Value:
    """Give what a method of a list, dict or set gives."""
    if name in ("append", "add", "insert", "appendleft", "put") and arguments.values:
        value = listings.kept(walk, arguments.values[-1], arguments.node)
        if value.number and value.spread.reducible:
            walk.escape(arguments.node, arguments.pairs[-1:], KEPT)
        elif numbers := _numbers(arguments.pairs[-1]):
            walk.escape(arguments.node, numbers, KEPT)
        count = length(walk, box) if name == "append" and not walk.loops else None
        cell = ANY if count is None else f"[{count}]"
        walk.state.add(box, cell, value)
        walk.facts.bind(box, cell, value)
        return UNKNOWN
    if name in ("extend", "update") and arguments.all:
        for value in arguments.values:
            element, _ = access.elements(walk, value, arguments.node)
            if walk.sampling is not None:
                element = listings.kept(walk, element, arguments.node)
                samples.part(walk, walk.sampling)
            elif element.spread.kind is Kind.EACH:
                # What is kept of a batch is kept of all its samples.
                element = tensor(value.spread, number=value.number)
            if element.number and walk.state.deep_spread(element).reducible:
                walk.escape(arguments.node, arguments.pairs, KEPT)
            walk.state.add(box, ANY, element)
            walk.facts.bind(box, ANY, element)
        for label, value in arguments.keywords:
            walk.state.add(box, f"[{label!r}]" if label else ANY, value)
        return UNKNOWN
    if name in _MOVING and listings.listed(walk, of(box)) is not None:
        several = walk.state.deep_spread(of(box))
        moved = mixed("HR305", "entries of a list of the samples are moved", arguments.node, several)
        walk.state.add(box, ANY, tensor(moved))
    if name in ("pop", "get", "setdefault", "popitem", "popleft"):
        key = literal(arguments.values[0]) if arguments.values else None
        return walk.state.element(box, f"[{key!r}]" if isinstance(key, str) else None)
    if name in ("values", "copy"):
        return of(box)
    if name == "items":
        held = Value(items=(UNKNOWN, walk.state.element(box, None)))
        return of(Stream(arguments.node, walk.context, held))
    if name == "clear":
        walk.state.forget(box)
    return UNKNOWN
