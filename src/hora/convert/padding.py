"""How a loader's `collate_fn` puts samples together: padded to the longest of them, and along which axis."""

from __future__ import annotations

import ast
from functools import lru_cache

from hora.convert.arguments import Arguments
from hora.convert.values import Function, Instance, Partial, Value

_PADS = ("pad", "max", "collator")
_TURNS = frozenset({"T", "mT", "t", "transpose", "permute", "movedim", "moveaxis", "swapaxes", "swapdims"})
_STACKS = frozenset({"stack", "cat", "concat", "concatenate", "hstack", "column_stack"})


def given(arguments: Arguments) -> Value | None:
    """Give what a loader puts samples together with; None where that is torch's own way."""
    collate = arguments.get(6, "collate_fn")
    if collate is None or (collate.things and all(getattr(one, "value", "") is None for one in collate.things)):
        return None
    return collate


def pads(arguments: Arguments) -> bool:
    """Whether a loader's samples may be padded to the longest of those that it puts together."""
    collate = given(arguments)
    texts = _texts(collate)
    return collate is not None and (not texts or any(map(_pads, texts)))


def axis(arguments: Arguments | None) -> int | None:
    """Give the axis of the batch's tensors that counts the samples; None where it may be another than the first."""
    texts = _texts(given(arguments)) if arguments is not None else []
    return None if any(map(_turned, texts)) else 0


def _texts(collate: Value | None) -> list[ast.AST]:
    """Give what the script has of it: functions, also where some of their arguments are given, and classes."""
    found: list[ast.AST] = []
    for thing in collate.things if collate is not None else ():
        if isinstance(thing, Function):
            found.append(thing.node)
        elif isinstance(thing, Instance):
            found += [cls.node for cls in thing.cls.lineage]
        elif isinstance(thing, Partial):
            found += _texts(thing.given[0])
    return found


@lru_cache(maxsize=256)
def _pads(function: ast.AST) -> bool:
    """Whether a function that puts samples together may pad them."""
    names = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(function)}
    return any(part in name.lower() for name in names for part in _PADS)


@lru_cache(maxsize=256)
def _turned(function: ast.AST) -> bool:
    """Whether a function that puts samples together may lay them along another axis than the first."""
    for node in ast.walk(function):
        name = getattr(node, "attr", getattr(node, "id", "")) if isinstance(node, ast.Attribute | ast.Name) else ""
        called = node.func if isinstance(node, ast.Call) else None
        called_name = getattr(called, "attr", getattr(called, "id", ""))
        if name in _TURNS:
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
