"""The blocks of statements in a syntax tree: those of a module, a function, a loop, a branch or what follows a try."""

from __future__ import annotations

import ast
from collections.abc import Iterator


def blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Give the blocks that a node itself has."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield block


def block_of(parent: ast.AST, statement: ast.stmt) -> list[ast.stmt]:
    """Give the block of its parent that a statement stands in."""
    for block in blocks(parent):
        if statement in block:
            return block
    raise ValueError("the statement does not stand in this node")
