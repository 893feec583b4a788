"""What a call gives: functions and classes of the file are followed, the rest is asked of the library."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hora.convert import access, commands, detaching, expressions, library, methods, networks, statements, tensors
from hora.convert.arguments import Arguments, Keywords
from hora.convert.facts import Call
from hora.convert.memory import either, merge
from hora.convert.recall import Recalled, Visit
from hora.convert.spread import Kind, Spread, mixed
from hora.convert.spread import join as join_spreads
from hora.convert.values import (
    UNKNOWN,
    Box,
    Class,
    Constant,
    Criterion,
    Foreign,
    Frame,
    Function,
    Instance,
    Loader,
    Method,
    Module,
    Named,
    Partial,
    Stream,
    Super,
    Thing,
    Value,
    of,
    ordered,
    tensor,
)

if TYPE_CHECKING:
    from hora.convert.walk import Walk

BUILTINS = frozenset(dir(builtins))
DEPTH = 30


def call(walk: Walk, node: ast.Call) -> Value:
    """Give the value of a call and note it."""
    function = walk.value(node.func)
    arguments = _arguments(walk, node)
    place = walk.place
    receiver = None
    if isinstance(node.func, ast.Attribute):
        receiver = walk.last[node.func.value]
    if receiver is not None and all(access.is_plain(thing) for thing in receiver.things):
        assert isinstance(node.func, ast.Attribute)
        result = tensors.method(walk, arguments, receiver, node.func.attr)
    elif not function.things:
        result = not_followed(walk, arguments, ast.unparse(node.func))
    else:
        callees = [thing for thing in ordered(function.things) if not isinstance(thing, Constant)]
        result = either(call_thing(walk, thing, arguments) for thing in _followed(walk, callees, arguments))
        for thing in callees:
            commands.follow(walk, thing, node)
    walk.called(Call(node, place, function, arguments.values, arguments.keywords, result))
    return result


def _followed(walk: Walk, callees: Sequence[Thing], arguments: Arguments) -> Sequence[Thing]:
    """Give which of several callees it may be: none that raises TypeError where another takes the arguments.

    The network that a checkpoint holds whole is left out, too, where another branch makes it: it is the same one.
    """
    if any(isinstance(thing, Instance | Module) for thing in callees):
        callees = [thing for thing in callees if not networks.is_restored(thing)]
    return [thing for thing in callees if _takes(walk, thing, arguments)] or callees


def _takes(walk: Walk, thing: Thing, arguments: Arguments) -> bool:
    """Whether a thing may be called with these arguments: False only where their number or names cannot fit."""
    if isinstance(thing, Class):
        started = member(walk, thing, "__init__")
        makers = [one for one in ordered(started.things) if isinstance(one, Function)] if started is not None else []
        return not makers or any(_takes(walk, replace(one, bound=thing), arguments) for one in makers)
    if not isinstance(thing, Function) or any(isinstance(arg, ast.Starred) for arg in arguments.node.args):
        return True
    spec = thing.node.args
    names = [arg.arg for arg in (*spec.posonlyargs, *spec.args)]
    if not spec.vararg and len(arguments.values) + (thing.bound is not None) > len(names):
        return False
    known = {*names, *(arg.arg for arg in spec.kwonlyargs)}
    return spec.kwarg is not None or all(name is None or name in known for name, _ in arguments.keywords)


def _arguments(walk: Walk, node: ast.Call) -> Arguments:
    """Evaluate a call's arguments, unpacking what is known one by one."""
    values: list[Value] = []
    for arg in node.args:
        value = walk.value(arg)
        if isinstance(arg, ast.Starred) and value.items is not None:
            values += value.items
        elif isinstance(arg, ast.Starred):
            values.append(access.elements(walk, value, arg)[0])
        else:
            values.append(value)
    return Arguments(node, tuple(values), tuple((keyword.arg, walk.value(keyword.value)) for keyword in node.keywords))


def call_thing(walk: Walk, thing: Thing, arguments: Arguments) -> Value:
    """Give what calling a thing gives."""
    node = arguments.node
    if isinstance(thing, Function):
        return inline(walk, thing, node, arguments.values, arguments.keywords)
    if isinstance(thing, Class):
        return construct(walk, thing, arguments)
    if isinstance(thing, Instance):
        return _call_instance(walk, thing, arguments)
    if isinstance(thing, Module):
        return networks.forward(walk, thing, arguments)
    if isinstance(thing, Criterion):
        return networks.loss(walk, thing, arguments)
    if isinstance(thing, Method):
        return methods.call(walk, thing, arguments)
    if isinstance(thing, Named):
        return library.call(walk, thing.name, arguments)
    if isinstance(thing, Partial):
        return _call_partial(walk, thing, arguments)
    return not_followed(walk, arguments, ast.unparse(node.func))


def _call_instance(walk: Walk, thing: Instance, arguments: Arguments) -> Value:
    """Call an object of a class of the file."""
    for name in ("__call__", "forward"):
        result = method(walk, thing, name, arguments.node, arguments.values, arguments.keywords)
        if result is not None:
            walk.facts.used.setdefault(thing, []).append(walk.place)
            walk.facts.answers.setdefault(thing, set()).add(result)
            return result
    if networks.is_module(thing):
        return networks.forward(walk, thing, arguments)
    return not_followed(walk, arguments, thing.cls.node.name)


def _call_partial(walk: Walk, thing: Partial, arguments: Arguments) -> Value:
    """Call what was given its first arguments before."""
    function, *first = thing.given
    names = {name for name, _ in arguments.keywords}
    kept = tuple((name, value) for name, value in thing.keywords if name not in names)
    whole = Arguments(arguments.node, (*first, *arguments.values), (*kept, *arguments.keywords))
    if not function.things:
        return not_followed(walk, whole, "a function made by functools.partial")
    return either(call_thing(walk, one, whole) for one in ordered(function.things))


def not_followed(walk: Walk, arguments: Arguments, name: str) -> Value:
    """Give what a call gives that cannot be followed, noting what it is handed of the worker's slice."""
    spreads = [_handed(walk, value, arguments.node) for value in arguments.all]
    if any(spread.local for spread in spreads):
        pairs = zip(arguments.pairs, spreads, strict=False)
        parts = tuple((node, replace(value, spread=spread)) for (node, value), spread in pairs if spread.local)
        walk.escape(arguments.node, parts, f"is handed to {name}(), which is not followed")
        return tensor(
            mixed("HR908", f"{name}() comes from outside this file and is not followed", arguments.node, *spreads)
        )
    result = of(Foreign(arguments.node, walk.context, name))
    for spread in spreads:
        if spread.kind is Kind.OWN:
            result = replace(result, spread=join_spreads(result.spread, spread))
    return result


def _handed(walk: Walk, value: Value, node: ast.AST) -> Spread:
    """Give how a value spreads that is handed to what is not followed: of a loader, every batch may be taken."""
    spread = walk.state.deep_spread(value)
    loaders = frozenset(
        thing for thing in walk.state.deep_things(value) if isinstance(thing, Loader) and thing not in walk.whole
    )
    if loaders and not spread.local:
        return mixed("HR908", "a loader is handed to what is not followed", node, Spread(Kind.SUM, frozenset(loaders)))
    return spread


def member(walk: Walk, thing: Instance | Super | Class, name: str) -> Value | None:
    """Give what a class of the file says about a name, or None."""
    if isinstance(thing, Super):
        lineage = thing.owner.lineage[1:]
    else:
        lineage = (thing.cls if isinstance(thing, Instance) else thing).lineage
    for cls in lineage:
        value = walk.state.get(cls.frame, name)
        if value is not None:
            return value
    return None


def method(
    walk: Walk, thing: Instance, name: str, node: ast.AST, args: tuple[Value, ...] = (), keywords: Keywords = ()
) -> Value | None:
    """Call a method that the file defines; None where it defines none."""
    found = member(walk, thing, name)
    functions = [one for one in ordered(found.things) if isinstance(one, Function)] if found is not None else []
    if not functions:
        return None
    return either(inline(walk, replace(one, bound=thing), node, args, keywords) for one in functions)


def construct(walk: Walk, cls: Class, arguments: Arguments) -> Value:
    """Make an object of a class of the file."""
    made = library.derived(walk, cls, arguments)
    if made is not None:
        return made
    if walk.is_represented(cls):
        return UNKNOWN
    instance = Instance(arguments.node, walk.context, cls)
    walk.state.forget(instance)
    walk.facts.made.setdefault(instance, walk.place)
    started = method(walk, instance, "__init__", arguments.node, arguments.values, arguments.keywords)
    if started is None:
        fields = [
            node.target.id
            for node in cls.node.body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        ]
        for name, value in (*zip(fields, arguments.values, strict=False), *arguments.keywords):
            if name is not None:
                walk.state.set(instance, name, value)
                walk.facts.bind(instance, name, value)
    return of(instance)


def inline(walk: Walk, function: Function, node: ast.AST, args: tuple[Value, ...], keywords: Keywords) -> Value:
    """Follow a function with its arguments and give what it returns."""
    if len(args) == 1 and not keywords and detaching.detaches(function.node):
        return detaching.detached(args[0])
    if len(walk.context) >= DEPTH or walk.running.count(function.node) >= (2 if function.bound is not None else 1):
        if function.bound is not None and networks.is_module(function.bound):
            whole = networks.combined(walk, args, node)
            count = _returned(function.node)
            return whole if count is None else Value(items=(whole,) * count)
        spreads = [spread for value in args if (spread := walk.state.deep_spread(value)).local]
        return (
            tensor(mixed("HR908", "a function that calls itself is not followed", node, *spreads))
            if spreads
            else UNKNOWN
        )
    context = (*walk.context, node)
    key = args, keywords, walk.control, walk.alone, walk.assumed, walk.loops, tuple(walk.running)
    known = walk.recalled.get((function, context))
    if known is not None and known.fits(key, walk.state):
        known.repeat(walk.state)
        walk.exits.drawn |= known.drawn
        return known.result
    frame, trace = Frame(function.node, context), walk.state.trace
    around, trace.visit = trace.visit, Visit()
    walk.state.forget(frame)
    before = walk.state.copy().cells
    exits, walk.exits = walk.exits, type(walk.exits)()
    entered, walk.entered = walk.entered, walk.control
    walk.running.append(function.node)
    with walk.inside(frame, context, function.frame):
        _bind(walk, function, args, keywords)
        if isinstance(function.node, ast.Lambda):
            result = walk.value(function.node.body)
        else:
            result = _body(walk, function.node, node, context[:-1])
    walk.running.pop()
    walk.entered = entered
    inner, walk.exits = walk.exits, exits
    drawn: frozenset[Loader] = frozenset() if inner.yields else inner.drawn
    walk.exits.drawn |= drawn
    visit, trace.visit = trace.visit, around
    visit.own(frame)
    trace.visit.add(visit)
    if not visit.lost:
        walk.recalled[function, context] = Recalled(key, visit, before, walk.state.copy().cells, result, drawn)
    return result


def _returned(node: ast.AST) -> int | None:
    """Give how many values a function returns side by side; None where that is one, or differs."""
    ends = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
    counts = {len(end.elts) if isinstance(end, ast.Tuple) else None for end in ends}
    return counts.pop() if len(counts) == 1 else None


def _body(
    walk: Walk, node: ast.FunctionDef | ast.AsyncFunctionDef, site: ast.AST, context: tuple[ast.AST, ...]
) -> Value:
    """Follow a function's body and give what it returns, or the stream that a generator is."""
    through = statements.block(walk, node.body)
    ends = [(statements.NONE, walk.state)] if through else []
    ends += walk.exits.returns
    walk.state = merge(state for _, state in ends) or walk.state
    if walk.exits.yields:
        return of(Stream(site, context, either(walk.exits.yields), walk.exits.drawn))
    return either(value for value, _ in ends)


def _under(walk: Walk, mapping: Value, name: str) -> Value:
    """Give what a mapping that is unpacked into arguments may hold under a name."""
    boxes = [thing for thing in mapping.things if isinstance(thing, Box)]
    if boxes and len(boxes) == len(mapping.things):
        return either(walk.state.element(box, f"[{name!r}]") for box in boxes)
    field = tensor(mapping.spread)
    return field if mapping.spread.local else UNKNOWN


def _bind(walk: Walk, function: Function, args: tuple[Value, ...], keywords: Keywords) -> None:
    """Bind a function's parameters."""
    spec = function.node.args
    given = list(args)
    if function.bound is not None:
        given.insert(0, of(function.bound))
    names = [arg.arg for arg in (*spec.posonlyargs, *spec.args)]
    defaults = dict(zip(reversed(names), reversed(spec.defaults), strict=False))
    defaults |= {arg.arg: value for arg, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if value}
    by_name = {name: value for name, value in keywords if name is not None}
    anything = [value for name, value in keywords if name is None]
    for name in (*names, *(arg.arg for arg in spec.kwonlyargs)):
        if name in names and names.index(name) < len(given):
            value = given[names.index(name)]
        elif name in by_name:
            value = by_name[name]
        else:
            maybe = [_under(walk, one, name) for one in anything]
            value = either([*maybe, *([expressions.evaluate(walk, defaults[name])] if name in defaults else [])])
        walk.bind(name, value)
    if spec.vararg:
        walk.bind(spec.vararg.arg, Value(items=tuple(given[len(names) :])))
    if spec.kwarg:
        others = [value for name, value in keywords if name not in names]
        walk.bind(spec.kwarg.arg, Value(items=tuple(others)) if others else UNKNOWN)
