"""The commands of a group, as click and typer have them: calling the group runs the one that the user names."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from hora.convert import calls
from hora.convert.memory import merge
from hora.convert.values import Function, Thing

if TYPE_CHECKING:
    from hora.convert.walk import Walk

_MARKS = ("command", "callback")


def register(walk: Walk, decorator: ast.expr, function: Function) -> None:
    """Note that a decorator makes a function a command of a group: ``@cli.command()``."""
    mark = decorator.func if isinstance(decorator, ast.Call) else decorator
    if isinstance(mark, ast.Attribute) and mark.attr in _MARKS and mark.value in walk.last:
        for group in walk.last[mark.value].things:
            if function not in (known := walk.commands.setdefault(group, [])):
                known.append(function)


def follow(walk: Walk, group: Thing, node: ast.Call) -> None:
    """Follow a call of a group: one of its commands runs, with what the user gives."""
    commands = walk.commands.get(group)
    if not commands:
        return
    before, ends = walk.state, []
    for command in commands:
        walk.state = before.copy()
        calls.inline(walk, command, node, (), ())
        ends.append(walk.state)
    walk.state = merge(ends) or before
