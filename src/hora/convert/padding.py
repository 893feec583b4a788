"""How a loader's `collate_fn` puts samples together: padded to the longest of them, and along which axis."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias

from hora.convert.arguments import Arguments
from hora.convert.values import UNKNOWN, Frame, Function, Instance, Partial, Thing, Value

Bindings: TypeAlias = Mapping[Thing, Mapping[str, Value]]

_PADS = ("pad", "max", "collator")
_TURNS = frozenset({"T", "mT", "t", "transpose", "permute", "movedim", "moveaxis", "swapaxes", "swapdims"})
_STACKS = frozenset({"stack", "cat", "concat", "concatenate", "hstack", "column_stack"})


def given(arguments: Arguments) -> Value | None:
    """Give what a loader puts samples together with; None where that is torch's own way."""
    collate = arguments.get(6, "collate_fn")
    if collate is None or (collate.things and all(getattr(one, "value", "") is None for one in collate.things)):
        return None
    return collate


def pads(arguments: Arguments, bindings: Bindings) -> bool:
    """Whether a loader's samples may be padded to the longest of those that it puts together.

    Parameters
    ----------
    arguments
        What the loader is given.
    bindings
        What the names of the script stand for: functions that are called are looked up there.
    """
    collate = given(arguments)
    texts = _texts(collate, bindings)
    return collate is not None and (not texts or any(map(_pads, texts)))


def axis(arguments: Arguments | None, bindings: Bindings) -> int | None:
    """Give the axis of the batch's tensors that counts the samples; None where it may be another than the first."""
    texts = _texts(given(arguments), bindings) if arguments is not None else []
    return None if any(map(_turned, texts)) else 0


def _texts(collate: Value | None, bindings: Bindings) -> list[ast.AST]:
    """Give what the script has of it: functions and those that they call, and classes."""
    found: dict[ast.AST, None] = {}
    left = list(collate.things) if collate is not None else []
    modules = [one for one in bindings if isinstance(one, Frame) and isinstance(one.node, ast.Module)] if left else []
    while left:
        thing = left.pop()
        if isinstance(thing, Partial):
            left += thing.given[0].things
        elif isinstance(thing, Instance):
            found |= dict.fromkeys(cls.node for cls in thing.cls.lineage)
        elif isinstance(thing, Function) and thing.node not in found:
            found[thing.node] = None
            called = {getattr(one.func, "id", "") for one in ast.walk(thing.node) if isinstance(one, ast.Call)}
            for name in sorted(called):
                for frame in (thing.frame, *modules):
                    left += [
                        one for one in bindings.get(frame, {}).get(name, UNKNOWN).things if isinstance(one, Function)
                    ]
    return list(found)


@lru_cache(maxsize=256)
def _pads(function: ast.AST) -> bool:
    """Whether a function that puts samples together may pad them."""
    names = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(function)}
    return any(part in name.lower() for name in names for part in _PADS)


@lru_cache(maxsize=256)
def _turned(function: ast.AST) -> bool:
    """Whether a function that puts samples together may lay them along another axis than the first."""
    for node in ast.walk(function):
        called = node.func if isinstance(node, ast.Call) else None
        called_name = getattr(called, "attr", getattr(called, "id", ""))
        if called_name in _TURNS or (isinstance(node, ast.Attribute) and node.attr in _TURNS):
            return True
        if isinstance(node, ast.Call) and called_name == "pad_sequence" and not _first(node):
            return True
        if isinstance(node, ast.Call) and called_name in _STACKS and not _along_first(node):
            return True
    return False


def _first(call: ast.Call) -> bool:
    """Whether ``pad_sequence()`` is told to let the samples come first."""
    options = [one.value for one in call.keywords if one.arg == "batch_first"] + call.args[1:2]
    return any(isinstance(one, ast.Constant) and one.value is True for one in options)


def _along_first(call: ast.Call) -> bool:
    """Whether tensors are put together along the first axis."""
    options = [one.value for one in call.keywords if one.arg in ("dim", "axis")] + call.args[1:2]
    return all(isinstance(one, ast.Constant) and one.value == 0 for one in options)
