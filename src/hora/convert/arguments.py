"""The arguments of one call, as values and as the expressions that give them."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TypeAlias

from hora.convert.values import Constant, Value

Keywords: TypeAlias = tuple[tuple[str | None, Value], ...]


@dataclass(frozen=True)
class Arguments:
    """The arguments of one call.

    Attributes
    ----------
    node
        The call.
    values
        Positional arguments; a starred one stands for its elements, or for one of them where they are not known.
    keywords
        Named arguments; those of a ``**mapping`` have None for a name.
    """

    node: ast.Call
    values: tuple[Value, ...]
    keywords: Keywords = ()

    def get(self, position: int, name: str) -> Value | None:
        """Give an argument by position or by name, or None when it is not given."""
        for keyword, value in self.keywords:
            if keyword == name:
                return value
        return self.values[position] if 0 <= position < len(self.values) else None

    def literal(self, position: int, name: str) -> object:
        """Give the literal that an argument is, or None."""
        value = self.get(position, name)
        return literal(value) if value is not None else None

    @property
    def all(self) -> tuple[Value, ...]:
        """All argument values."""
        return (*self.values, *(value for _, value in self.keywords))

    @property
    def pairs(self) -> tuple[tuple[ast.expr, Value], ...]:
        """Each argument's expression with its value, where they correspond."""
        nodes = [*self.node.args, *(keyword.value for keyword in self.node.keywords)]
        return tuple(zip(nodes, self.all, strict=True)) if len(nodes) == len(self.all) else ()


def literal(value: Value) -> object:
    """Give the literal that a value is, or None where it is none, or one of several."""
    if len(value.things) == 1:
        (thing,) = value.things
        if isinstance(thing, Constant):
            return thing.value
    return None
