"""Multiply an expression where it stands, and take a factor away again."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hora.convert.edits import Edit, surround
from hora.convert.source import Source

TIGHT = (ast.Name, ast.Attribute, ast.Subscript, ast.Call, ast.Constant)
"""Expressions that need no parentheses as a factor."""


def multiplied(source: Source, node: ast.expr, factor: str) -> list[Edit]:
    """Multiply an expression by a factor."""
    product = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div)
    before, after = ("", "") if isinstance(node, TIGHT) or product else ("(", ")")
    outer = isinstance(source.parents[node], ast.Attribute) and not _enclosed(source, node)
    opening, closing = ("(", ")") if outer else ("", "")
    return surround(source, node, opening + before, f"{after} * {factor}{closing}")


def _enclosed(source: Source, node: ast.expr) -> bool:
    """Whether an expression stands in parentheses of its own."""
    start, end = source.span(node)
    before, after = source.text[:start].rstrip(), source.text[end:].lstrip()
    return before.endswith("(") and after.startswith(")")


def without_factor(source: Source, product: ast.BinOp) -> Iterator[Edit]:
    """Leave of a product its left side, without the parentheses that only the product needed."""
    (start, end), after_left = source.span(product), source.span(product.left)[1]
    text = source.text
    while text[after_left:].lstrip().startswith(")") and text[start] == "(":
        # The left side's own parentheses, which its span leaves out.
        after_left = text.index(")", after_left) + 1
        if text[start:after_left].count("(") == text[start:after_left].count(")"):
            break
    yield Edit(after_left, end, "", source.path)
    before, behind = text[:start].rstrip(), text[end:].lstrip()
    called = before[-2:-1].isalnum() or before[-2:-1] in tuple("_)]")
    grouped = before.endswith("(") and behind.startswith(")") and not called
    left = product.left
    closed = isinstance(left, ast.Name | ast.Attribute | ast.Call | ast.Subscript) or text[start] == "("
    if grouped and closed:
        opening = len(before) - 1
        closing = end + len(text[end:]) - len(behind)
        yield Edit(opening, start, "", source.path)
        yield Edit(closing, closing + 1, "", source.path)
