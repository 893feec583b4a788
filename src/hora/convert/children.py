"""The networks and layers within a network: those that its methods hand out, and those that a text names."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from hora.convert import networks
from hora.convert.arguments import Arguments
from hora.convert.memory import ANY, either
from hora.convert.values import UNKNOWN, Box, Thing, Value, of

if TYPE_CHECKING:
    from hora.convert.walk import Walk

HANDED_OUT = frozenset({"children", "named_children", "modules", "named_modules", "values", "items"})
"""Methods that hand out what is within a network; those of a ModuleDict and of ``_modules`` among them."""


def handed_out(walk: Walk, module: Thing, name: str, arguments: Arguments) -> Value:
    """Give what one of these methods hands out.

    All that is within a network, at whatever depth, is taken for the network itself.

    Parameters
    ----------
    walk
        The walk.
    module
        The network.
    name
        The method.
    arguments
        Its call.
    """
    within = _within(walk, module) if not name.endswith("modules") else frozenset()
    if not within and name in ("children", "modules"):
        return of(module)
    part = Value(things=within or frozenset({module}))
    box = Box(arguments.node, walk.context)
    walk.state.forget(box)
    element = Value(items=(UNKNOWN, part)) if name.startswith("named") or name == "items" else part
    walk.state.set(box, ANY, element)
    walk.facts.bind(box, ANY, element)
    return of(box)


def named(walk: Walk, module: Thing, label: ast.expr | None) -> Value:
    """Give the networks within a network whose names begin as a text does: ``getattr(self, f"layer{number}")``."""
    begin = _beginning(label)
    held = walk.state.held(module).items()
    values = [value for name, value in held if name == ANY or name.startswith(begin)]
    return either(value for value in values if any(networks.is_module(thing) for thing in value.things))


def _within(walk: Walk, module: Thing) -> frozenset[Thing]:
    """Give what is directly within a network."""
    values = walk.state.held(module).values()
    return frozenset(
        thing for value in values for thing in value.things if networks.is_module(thing) and thing is not module
    )


def _beginning(label: ast.expr | None) -> str:
    """Give what a text begins with, whatever it is completed with."""
    if isinstance(label, ast.Call) and isinstance(label.func, ast.Attribute) and label.func.attr == "format":
        label = label.func.value
    if isinstance(label, ast.BinOp):
        label = label.left
    if isinstance(label, ast.JoinedStr) and label.values:
        label = label.values[0]
    text = label.value if isinstance(label, ast.Constant) and isinstance(label.value, str) else ""
    return text.partition("{")[0].partition("%")[0]
