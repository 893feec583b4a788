"""What import statements import from, and whether that is torch."""

from __future__ import annotations

import ast


def modules_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Give the names of what an import statement imports from."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return ["." * node.level + (node.module or "")]


def of_torch(node: ast.Import | ast.ImportFrom) -> bool:
    """Whether an import is from torch."""
    return any(name.split(".")[0] == "torch" for name in modules_of(node))


def binds_torch(tree: ast.Module) -> bool:
    """Whether the script has the name ``torch``."""
    aliases = [alias for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    return any(alias.name.split(".")[0] == "torch" and alias.asname is None for alias in aliases)
