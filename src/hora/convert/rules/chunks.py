"""Loops that cut their data in batches by place: ``for i in range(0, n, size): x[i : i + size]``."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from hora.convert.program import Program
from hora.convert.source import Source


@dataclass(frozen=True)
class Chunks:
    """How a loop cuts its data.

    Attributes
    ----------
    count, size
        The number of samples, or of batches where ``whole``, and of samples in a batch.
    slices
        The slices that take a batch.
    numbered
        Whether the loop's variable is used for more than that.
    whole
        Whether ``count`` counts batches, the last of which is as large as the others.
    """

    count: ast.expr
    size: ast.expr
    slices: tuple[ast.Slice, ...]
    numbered: bool
    whole: bool

    def text(self, source: Source) -> str:
        """Give the number of samples, as text."""
        count, size = source.segment(self.count), source.segment(self.size)
        if not self.whole:
            return count
        tight = isinstance(self.count, ast.Name | ast.Constant | ast.Attribute | ast.Call | ast.Subscript)
        return f"{count} * {size}" if tight else f"({count}) * {size}"


def chunked(program: Program, loop: ast.stmt) -> Chunks | None:
    """Read how a loop cuts its data; None where it does not, or in another way."""
    if not (isinstance(loop, ast.For) and isinstance(loop.target, ast.Name) and isinstance(loop.iter, ast.Call)):
        return None
    given = loop.iter.args
    if getattr(loop.iter.func, "id", "") != "range" or loop.iter.keywords or not given:
        return None
    variable = loop.target.id
    parts = [node for node in ast.walk(loop) if isinstance(node, ast.Slice) and _uses(node, variable)]
    first = parts[0] if parts else None
    if first is None or first.lower is None or first.upper is None or any(one.step for one in parts):
        return None
    lower, upper = ast.unparse(first.lower), ast.unparse(first.upper)
    if any(ast.unparse(one) != ast.unparse(first) or not _leads(program, one) for one in parts):
        return None
    if len(given) == 3 and ast.unparse(given[0]) == "0":
        step = ast.unparse(given[2])
        fits = lower == variable and upper in (f"{variable} + {step}", f"{step} + {variable}")
        count, size, whole = given[1], given[2], False
    elif len(given) == 1 and isinstance(first.lower, ast.BinOp) and isinstance(first.lower.op, ast.Mult):
        left, right = first.lower.left, first.lower.right
        size = right if ast.unparse(left) == variable else left
        step = ast.unparse(size)
        starts = (f"{variable} * {step}", f"{step} * {variable}")
        ends = (f"({variable} + 1) * {step}", f"{step} * ({variable} + 1)", *(f"{one} + {step}" for one in starts))
        fits = lower in starts and upper in ends
        count, whole = given[0], True
    else:
        return None
    if not fits:
        return None
    inside = {node for one in parts for node in ast.walk(one)}
    others = (node for statement in loop.body for node in ast.walk(statement) if node not in inside)
    numbered = any(isinstance(node, ast.Name) and node.id == variable for node in others)
    return Chunks(count, size, tuple(parts), numbered, whole)


def _uses(node: ast.AST, name: str) -> bool:
    """Whether a node reads a name."""
    return any(isinstance(one, ast.Name) and one.id == name for one in ast.walk(node))


def _leads(program: Program, node: ast.Slice) -> bool:
    """Whether a slice is of the first axis."""
    parent = program.parents[node]
    return not isinstance(parent, ast.Tuple) or parent.elts[0] is node
