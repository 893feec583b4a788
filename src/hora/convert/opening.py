"""Calls that open a file to write: `open(path, "w")`, `gzip.open(path, "wt")`, `path.open("w")`."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from hora.convert.values import Method, Named, Thing

_MODES = frozenset("rwaxbt+U")
_WRITING = frozenset("wax")
_FUNCTIONS = frozenset({"builtins.open", "io.open", "codecs.open", "gzip.open", "bz2.open", "lzma.open"})


@dataclass(frozen=True)
class Opening:
    """A call that opens a file to write.

    Attributes
    ----------
    path
        Which file.
    method
        Whether `path` is asked to open itself.
    rest
        What else the call is given, from the mode on.
    """

    path: ast.expr
    method: bool
    rest: tuple[ast.expr, ...]


def opening(node: ast.AST, functions: Iterable[Thing]) -> Opening | None:
    """Return what a call opens to write, if it is one that does.

    Parameters
    ----------
    node
        The call.
    functions
        What it may call.
    """
    if not isinstance(node, ast.Call):
        return None
    named = {thing.name for thing in functions if isinstance(thing, Named)}
    if named & _FUNCTIONS:
        path = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg == "file"), None)
        found = None if path is None else Opening(path, False, tuple(node.args[1:]))
    elif isinstance(node.func, ast.Attribute) and node.func.attr == "open" and _of_library(functions):
        found = Opening(node.func.value, True, tuple(node.args))
    else:
        return None
    mode = next((k.value for k in node.keywords if k.arg == "mode"), found.rest[0] if found and found.rest else None)
    # "a" if resumed else "w"
    given = [mode.body, mode.orelse] if isinstance(mode, ast.IfExp) else [mode]
    texts = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return found if any(set(text) <= _MODES and set(text) & _WRITING for text in texts) else None


def _of_library(functions: Iterable[Thing]) -> bool:
    """Whether a method is a library's, as that of a path, or one that is not followed."""
    return all(isinstance(thing, Method) for thing in functions)
