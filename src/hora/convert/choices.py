"""What a setting chooses by its name among what a module of the script's own holds: ``models.__dict__[args.arch]``."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from hora.convert.memory import either
from hora.convert.values import Class, Frame, Function, Package, Value, of, ordered

if TYPE_CHECKING:
    from hora.convert.walk import Walk


def of_module(walk: Walk, package: Package) -> Value:
    """Give what a module of the script's own holds under a name that a setting chooses.

    That is one of its functions that give something, or else of its classes; names with an underscore are not chosen.
    Of functions that differ in their constants alone, such as a network's depth, one stands for all.
    """
    held = [value for name, value in walk.state.held(package.frame).items() if not name.startswith("_")]
    makers = {
        _but_for_constants(thing): of(thing)
        for value in held
        for thing in ordered(value.things)
        if isinstance(thing, Function) and _gives(thing)
    }
    return either(makers.values() or [value for value in held if value.only(Class)])


def _gives(function: Function) -> bool:
    """Whether a function returns something."""
    return any(isinstance(node, ast.Return) and node.value is not None for node in ast.walk(function.node))


def _but_for_constants(function: Function) -> tuple[Frame, str]:
    """Give what two functions have in common that differ in their names and constants alone."""
    nodes = (node for node in ast.walk(function.node) if not isinstance(node, ast.Constant | ast.Expr))
    return function.frame, " ".join(getattr(node, "id", getattr(node, "attr", type(node).__name__)) for node in nodes)
