"""What import statements import from, whether that is torch, and where another import is put."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable

from hora.convert.edits import Edit, insert_after, insert_before
from hora.convert.source import Source


def modules_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Give the names of what an import statement imports from."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return ["." * node.level + (node.module or "")]


def full_names(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """Give the full name of each name that is imported somewhere among nodes."""
    found: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                found[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            [module] = modules_of(node)
            found |= {alias.asname or alias.name: f"{module}.{alias.name}" for alias in node.names}
    return found


def spelled(node: ast.expr, named: dict[str, str]) -> str | None:
    """Give the full name that an expression spells out, if it begins with one of some names."""
    if isinstance(node, ast.Attribute):
        owner = spelled(node.value, named)
        return None if owner is None else f"{owner}.{node.attr}"
    return named.get(node.id) if isinstance(node, ast.Name) else None


def of_torch(node: ast.Import | ast.ImportFrom) -> bool:
    """Whether an import is from torch."""
    return any(name.split(".")[0] == "torch" for name in modules_of(node))


def binds_torch(tree: ast.Module) -> bool:
    """Whether a file has the name ``torch``."""
    return bound(tree, "torch") == "torch"


def bound(tree: ast.Module, module: str, before: int = sys.maxsize) -> str | None:
    """Give the name under which a file has a module before a line; None where it has none for it."""
    for node in tree.body:
        for alias in node.names if isinstance(node, ast.Import) and node.lineno < before else ():
            if alias.name == module and alias.asname:
                return alias.asname
            if alias.asname is None and alias.name.split(".")[0] == module:
                return module
    return None


def named(source: Source, module: str, before: int = sys.maxsize) -> tuple[str, list[Edit]]:
    """Give the name under which a file has a module before a line, and the import where it has none."""
    name = bound(source.tree, module, before)
    return (name, []) if name is not None else (module, [added(source, f"import {module}")])


def added(source: Source, line: str) -> Edit:
    """Put an import before the file's first that is not from the future, or where it would stand."""
    for node in source.tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom) and modules_of(node) != ["__future__"]:
            return insert_before(source, node, [line])
    return _alone(source, line)


def among(source: Source, name: str, line: str) -> Edit:
    """Put an import of a library that builds on torch among a file's own.

    In order where they are in order, else before that of torch, else behind those from Python's own library.
    """
    imports = [node for node in source.tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    first = next((node for node in imports if modules_of(node)[0].split(".")[0] == "torch"), None)
    if first is None:
        others = [node for node in imports if not _standard(node)]
        if others:
            return insert_before(source, others[0], [line])
        return insert_after(source, imports[-1], [line]) if imports else _alone(source, line)
    group = [first]
    for node in reversed(imports[: imports.index(first)]):
        if group[0].lineno - (node.end_lineno or node.lineno) != 1:
            break
        group.insert(0, node)
    plain = [node for node in group if isinstance(node, ast.Import) and not _standard(node)]
    names = [modules_of(node)[0] for node in plain]
    if plain and names == sorted(names) and (first in plain or len(plain) < len(group)):
        later = [node for node in plain if modules_of(node)[0] > name]
        return insert_before(source, later[0] if later else first, [line])
    return insert_before(source, first, [line])


def _alone(source: Source, line: str) -> Edit:
    """Put an import at the head of a file that has none, below its docstring and what is from the future."""
    for node in source.tree.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not docstring and not isinstance(node, ast.ImportFrom):
            definition = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            return insert_before(source, node, [line, "", ""] if definition else [line, ""])
    return Edit(len(source.text), len(source.text), line + source.newline, source.path)


def _standard(node: ast.Import | ast.ImportFrom) -> bool:
    """Whether an import is from Python's own library."""
    return modules_of(node)[0].split(".")[0] in {"__future__", *sys.stdlib_module_names}
