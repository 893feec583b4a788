"""What a batch is made of, where the text of its data set tells: ``return (anchor, positive, negative), label``."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import TypeAlias

from hora.convert import padding
from hora.convert.arguments import Arguments
from hora.convert.spread import Spread, field
from hora.convert.values import Function, Instance, Value, tensor

Parts: TypeAlias = "tuple[Parts, ...] | None"
"""The parts of a sample, each with its own; None for one that has none, or of which nothing is known."""


def nested(arguments: Arguments | None) -> Parts:
    """Give the parts of a loader's batches; None where they are not told.

    A batch is made as its samples are, which tells more where some of their parts have parts of their own, unless the
    script puts samples together in its own way.
    """
    if arguments is None:
        return None
    collate = padding.given(arguments)
    if collate is not None:
        return _of(collate, "__call__")
    dataset = arguments.get(0, "dataset")
    parts = _of(dataset, "__getitem__") if dataset is not None else None
    return parts if parts is not None and any(part is not None for part in parts) else None


def _of(value: Value, method: str) -> Parts:
    """Give the parts of what a function gives, or a method of an object of the script."""
    thing = next(iter(value.things)) if len(value.things) == 1 else None
    if isinstance(thing, Function):
        return _returned(thing.node)
    for cls in thing.cls.lineage if isinstance(thing, Instance) else ():
        for one in cls.node.body:
            if isinstance(one, ast.FunctionDef) and one.name == method:
                return _returned(one)
    return None


def made(parts: Parts, spread: Spread) -> Value:
    """Give a batch of these parts."""
    if parts is None:
        return tensor(field(spread))
    return Value(items=tuple(made(part, spread) for part in parts))


@lru_cache(maxsize=256)
def _returned(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> Parts:
    """Give the parts of what a function returns, where each return has the same."""
    if isinstance(function, ast.Lambda):
        return _parts(function, function.body)
    found = {
        _parts(function, node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Return) and node.value is not None
    }
    return found.pop() if len(found) == 1 else None


def _parts(function: ast.AST, node: ast.expr, depth: int = 4) -> Parts:
    """Give the parts of an expression: a tuple, a list, or the one such that its name is given."""
    if isinstance(node, ast.Name) and depth:
        given = [
            one.value
            for one in ast.walk(function)
            if isinstance(one, ast.Assign) and any(_is(target, node.id) for target in one.targets)
        ]
        stored = sum(
            isinstance(one, ast.Name) and one.id == node.id and isinstance(one.ctx, ast.Store)
            for one in ast.walk(function)
        )
        return _parts(function, given[0], depth - 1) if len(given) == stored == 1 else None
    if isinstance(node, ast.Tuple | ast.List) and not any(isinstance(one, ast.Starred) for one in node.elts):
        return tuple(_parts(function, one, depth) for one in node.elts)
    return None


def _is(target: ast.expr, name: str) -> bool:
    return isinstance(target, ast.Name) and target.id == name
