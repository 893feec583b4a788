"""Name things: an expression that stands, where it is read, for one network, loader or optimizer and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from hora.convert import meetings
from hora.convert.facts import Place
from hora.convert.program import Program
from hora.convert.values import Constant, Frame, Instance, Loader, Made, Stream, Thing, Value, plain


def cover(
    program: Program,
    modules: frozenset[Thing],
    place: Place,
    near: Sequence[ast.AST] = (),
    after: ast.stmt | None = None,
) -> list[str] | None:
    """Give expressions that together stand for these networks and nothing else; None where there are none."""
    found: list[str] = []
    left = set(modules)
    whole = expression(program, modules, place, near, after)
    if whole is not None:
        return [whole]
    for module in sorted(modules, key=lambda thing: _made_at(program, thing)):
        if module in left:
            name = expression(program, frozenset({module}), place, near, after)
            if name is not None:
                found.append(name)
                left.discard(module)
    for name, value in program.facts.bindings.get(place.frame, {}).items():
        if left and value.things & left and value.things <= modules and _bound(program, place.frame, name, after):
            found.append(name)
            left -= value.things
    return None if left else found


def _made_at(program: Program, thing: Thing) -> int:
    """Give when a thing was made."""
    return program.order(thing.site, thing.context) if isinstance(thing, Made) else -1


def expression(
    program: Program,
    things: frozenset[Thing],
    place: Place,
    near: Sequence[ast.AST] = (),
    after: ast.stmt | None = None,
    *,
    iterators: bool = False,
) -> str | None:
    """Give an expression that stands for these things and nothing else, dealt or wrapped or not.

    Parameters
    ----------
    things
        What is looked for.
    place
        Where it must be in reach.
    near
        Nodes in which an expression is looked for first.
    after
        The statement after which it is read: what is bound later still is no name for it.
    iterators
        Whether what ``iter()`` gave of a loader stands for the loader, too.
    """
    wanted = frozenset(plain(thing) for thing in things)

    # Where batches have come from a loader, a name that may be None is not.
    beside = {Constant(None, "NoneType")} if all(isinstance(thing, Loader) for thing in things) else set()

    def fits(value: Value | None) -> bool:
        if value is None:
            return False
        if iterators and value.only(Stream):
            streams = [thing for thing in value.things if isinstance(thing, Stream)]
            drawn = frozenset(plain(loader) for stream in streams for loader in stream.loaders)
            return drawn == wanted and all(stream.iterates for stream in streams)
        return frozenset(plain(thing) for thing in value.things) - beside == wanted

    for node in (inner for outer in near for inner in ast.walk(outer)):
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Load):
            here = program.home(node) is program.home(place.frame.node)
            if here and fits(program.value(node, place.context)) and _repeatable(node):
                return program.home(node).segment(node)
    reach = {
        name: value
        for name, value in _in_reach(program, place.frame).items()
        if _bound(program, place.frame, name, after)
    }
    for name, value in reach.items():
        if fits(value):
            return name
    for name, value in reach.items():
        holder = next(iter(value.things)) if len(value.things) == 1 else None
        if isinstance(holder, Instance):
            for attribute, held in program.facts.bindings.get(holder, {}).items():
                if fits(held) and attribute.isidentifier():
                    return f"{name}.{attribute}"
    return None


def loader(program: Program, loaders: frozenset[Loader], place: Place, near: Sequence[ast.AST] = ()) -> str | None:
    """Give an expression for the loaders whose batch a step takes: a name, or the runtime's for the one that trains."""
    if not loaders:
        return None
    named = expression(program, frozenset(loaders), place, near, iterators=True)
    trains = {plain(one) for one in loaders} == program.training_loaders
    # Where each batch to train on is of the one loader, or of that which was chosen, the last handed out is this one's.
    if named is None and trains and (len(program.training_loaders) == 1 or _one_is_chosen(program)):
        return f"{program.runtime}.loader()"
    # Where the batches of several have met, each has as many samples as the others.
    several = loaders if named is None and len(loaders) > 1 and meetings.together(program, loaders) else ()
    names = (
        expression(program, frozenset({one}), place, near, iterators=True)
        for one in sorted(several, key=program.number)
    )
    return named or next((name for name in names if name is not None), None)


def _one_is_chosen(program: Program) -> bool:
    """Whether each loop draws from what stands for one of the loaders that are trained on, and never from several."""
    return all(expression(program, program.training_loaders, draw.place) is not None for draw in program.training_draws)


def _in_reach(program: Program, frame: Frame) -> dict[str, Value]:
    """Give the names that can be read in a frame, the nearest first, with all that they ever stood for."""
    reach = dict(program.facts.bindings.get(frame, {}))
    outer = program.facts.outer.get(frame)
    while outer is not None:
        if not isinstance(outer.node, ast.ClassDef):
            reach = {**reach, **{n: v for n, v in program.facts.bindings.get(outer, {}).items() if n not in reach}}
        outer = program.facts.outer.get(outer)
    return reach


def _bound(program: Program, frame: Frame, name: str, after: ast.stmt | None) -> bool:
    """Whether a name of a frame is bound once a statement in it has run; a name from around it is taken to be."""
    if after is None or name not in program.facts.bindings.get(frame, {}):
        return True
    stores = [
        node.lineno
        for node in ast.walk(frame.node)
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
    ]
    return not stores or min(stores) <= (after.end_lineno or after.lineno) or _parameter(frame.node, name)


def _parameter(node: ast.AST, name: str) -> bool:
    """Whether a name is a parameter of a function."""
    arguments = getattr(node, "args", None)
    return isinstance(arguments, ast.arguments) and name in {
        one.arg for one in ast.walk(arguments) if isinstance(one, ast.arg)
    }


def _repeatable(node: ast.expr) -> bool:
    """Whether reading an expression twice gives the same and costs nothing."""
    if isinstance(node, ast.Attribute):
        return _repeatable(node.value)
    if isinstance(node, ast.Subscript):
        return _repeatable(node.value) and isinstance(node.slice, ast.Name | ast.Constant | ast.Attribute)
    return isinstance(node, ast.Name)
