"""What a setting chooses by its name: of what a module holds, ``models.__dict__[args.arch]``, or a module itself."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hora.convert import assumptions
from hora.convert.arguments import Arguments, literal
from hora.convert.memory import either
from hora.convert.values import UNKNOWN, Box, Class, Frame, Function, Package, Value, of, ordered

if TYPE_CHECKING:
    from hora.convert.walk import Walk


def imported(walk: Walk, arguments: Arguments) -> Value | None:
    """Give the module that ``importlib.import_module()`` imports; None where it is none of the script's own.

    Where an option names it, it is the one that the option names by default, or those of its choices.
    """
    if not arguments.node.args:
        return None
    names = _texts(walk, arguments.node.args[0])
    found = {name: package for name in sorted(names) if (package := walk.load(name, 0)) is not None}
    if (found or not names) and (len(names) > 1 or not isinstance(literal(arguments.values[0]), str)):
        walk.facts.chosen[arguments.node] = tuple(found)
    return of(*found.values()) if found else None


def _texts(walk: Walk, node: ast.expr) -> frozenset[str]:
    """Give the texts that an expression may be, put together from literals and options; none where that is open."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return frozenset(one + other for one in _texts(walk, node.left) for other in _texts(walk, node.right))
    if isinstance(node, ast.JoinedStr):
        whole = frozenset([""])
        for part in node.values:
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            whole = frozenset(one + other for one in whole for other in _texts(walk, inner))
        return whole
    value = walk.last.get(node, UNKNOWN)
    known = literal(value)
    if isinstance(known, str):
        return frozenset([known])
    setting = assumptions.setting(value)
    return assumptions.named(walk, setting.name) if setting is not None else frozenset()


def of_module(walk: Walk, package: Package) -> Value:
    """Give what a module of the script's own holds under a name that a setting chooses.

    That is one of its functions that give something, or else of its classes. Names with an underscore are not chosen,
    and none but those in ``__all__`` where the module has one.
    Of functions that differ in lists of constants alone, such as the depths of a network's blocks, one stands for all.
    """
    cells = walk.state.held(package.frame)
    public = _public(walk, cells)
    held = [value for name, value in cells.items() if (name in public if public else not name.startswith("_"))]
    makers = {
        _but_for_lists(thing): of(thing)
        for value in held
        for thing in ordered(value.things)
        if isinstance(thing, Function) and _gives(thing)
    }
    return either(makers.values() or [value for value in held if value.only(Class)])


def _public(walk: Walk, cells: Mapping[str, Value]) -> frozenset[object]:
    """Give the names that a module lists as its public ones."""
    listed = cells.get("__all__", UNKNOWN)
    return frozenset(
        literal(one) for thing in listed.things if isinstance(thing, Box) for one in walk.state.held(thing).values()
    )


def _gives(function: Function) -> bool:
    """Whether a function returns something."""
    return any(isinstance(node, ast.Return) and node.value is not None for node in ast.walk(function.node))


def _but_for_lists(function: Function) -> tuple[Frame, str]:
    """Give what two functions have in common that differ in their names, docstrings and lists of constants alone."""
    whole = function.node.body if isinstance(function.node.body, list) else [function.node.body]
    body = [one for one in whole if not isinstance(one, ast.Expr)]
    lists = {
        id(entry)
        for statement in body
        for node in ast.walk(statement)
        if isinstance(node, ast.List | ast.Tuple)
        for entry in node.elts
        if isinstance(entry, ast.Constant)
    }
    nodes = (node for one in body for node in ast.walk(one) if id(node) not in lists)
    return function.frame, " ".join([ast.dump(function.node.args), *map(_word, nodes)])


def _word(node: ast.AST) -> str:
    """Name what a node says itself."""
    if isinstance(node, ast.Constant):
        return repr(node.value)
    return str(getattr(node, "id", getattr(node, "attr", getattr(node, "arg", type(node).__name__))))
