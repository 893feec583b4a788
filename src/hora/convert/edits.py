"""Edits of a source text: replace an expression, put lines before or after a statement, guard statements.

An edit is a span and its replacement; nothing outside the spans changes. Whole-line edits need statements that have
their lines to themselves: for ``a; b`` and ``for x in y: f(x)`` they raise :class:`SharedLineError`, which carries the
edits that give each statement a line of its own.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

from hora.convert.blocks import blocks
from hora.convert.source import Source


@dataclass(frozen=True, order=True)
class Edit:
    """A replacement of ``text[start:end]`` in the text of a file; an insertion where both are equal."""

    start: int
    end: int
    text: str
    path: Path


class SharedLineError(Exception):
    """A statement shares its line with another; ``edits`` give each a line of its own."""

    def __init__(self, edits: tuple[Edit, ...]) -> None:
        super().__init__("the statement shares its line")
        self.edits = edits


def apply(text: str, edits: Iterable[Edit]) -> str:
    """Apply edits to a text; insertions at one place keep their order.

    Raises
    ------
    ValueError
        Two edits overlap.
    """
    pieces: list[str] = []
    position = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if edit.start < position:
            raise ValueError(f"edits overlap at {edit.start}: {edit.text!r}")
        pieces += (text[position : edit.start], edit.text)
        position = edit.end
    pieces.append(text[position:])
    return "".join(pieces)


def landings(edits: Iterable[Edit]) -> list[tuple[Edit, int]]:
    """Give each edit with the offset at which its text stands in the edited text."""
    shift = 0
    found: list[tuple[Edit, int]] = []
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        found.append((edit, edit.start + shift))
        shift += len(edit.text) - (edit.end - edit.start)
    return found


def origins(text: str, edits: Iterable[Edit]) -> list[tuple[int, bool]]:
    """For each line of the edited text, where it came from, and whether anything on it is old.

    That is the offset in the old text of the first old character on it that is no white space, or of the edit.
    """
    lines: list[tuple[int, bool]] = []
    fresh = True  # at a line's start

    def feed(piece: str, start: int, old: bool) -> None:
        nonlocal fresh
        for index, character in enumerate(piece):
            here = start + index if old else start
            if fresh:
                lines.append((here, False))
                fresh = False
            if old and not lines[-1][1] and not character.isspace():
                lines[-1] = here, True
            if character == "\n" or (character == "\r" and piece[index + 1 : index + 2] != "\n"):
                fresh = True

    position = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        feed(text[position : edit.start], position, True)
        feed(edit.text, edit.start, False)
        position = edit.end
    feed(text[position:], position, True)
    return lines


def replace(source: Source, node: ast.expr | ast.stmt, text: str) -> Edit:
    """Replace an expression or a statement."""
    return Edit(*source.span(node), text, source.path)


def surround(source: Source, node: ast.expr, before: str, after: str) -> list[Edit]:
    """Put text before and after an expression, in which other edits may be made."""
    start, end = source.span(node)
    return [Edit(start, start, before, source.path), Edit(end, end, after, source.path)]


def argument(source: Source, call: ast.Call, text: str) -> Edit:
    """Give a call another argument, after those that it has."""
    end = source.span(call)[1] - 1
    given = [source.span(node) for node in (*call.args, *(keyword.value for keyword in call.keywords))]
    if not given:
        return Edit(end, end, text, source.path)
    start, at = max(given, key=lambda span: span[1])
    if at > end:
        # A generator expression shares the brackets of the call.
        return Edit(start, at, f"({source.text[start:at]}, {text})", source.path)
    while (closed := source.text.find(")", at, end)) >= 0 and not source.text[at:closed].strip():
        at = closed + 1
    return Edit(at, at, f", {text}", source.path)


def parameter(source: Source, function: ast.FunctionDef, name: str) -> Edit:
    """Give a function another parameter, by name only; it has none that takes what is left of a call's arguments."""
    given = function.args
    parameters = [*given.posonlyargs, *given.args]
    if not parameters:
        start = source.text.index("(", source.span(function)[0]) + 1
        return Edit(start, start, f"*, {name}", source.path)
    at = source.span(parameters[-1])[1]
    if given.defaults:
        before, (begin, at) = at, source.span(given.defaults[-1])
        # A default may stand in brackets of its own.
        for _ in range(source.text.count("(", before, begin)):
            at = source.text.index(")", at) + 1
    return Edit(at, at, f", *, {name}", source.path)


def without(source: Source, statement: ast.stmt) -> Edit:
    """Take a statement out, and its lines with it."""
    _own_lines(source, statement)
    return lines(source, _first_line(statement), statement.end_lineno or statement.lineno)


def lines(source: Source, first: int, last: int) -> Edit:
    """Take lines out, by their numbers."""
    return Edit(source.starts[first - 1], source.starts[last], "", source.path)


def insert_before(source: Source, statement: ast.stmt, lines: Sequence[str]) -> Edit:
    """Put lines before a statement, above its decorators and the comments that stand directly over it.

    Comments over an import, or at the head of the file, belong to more than the statement: lines go below those.
    """
    _own_lines(source, statement)
    first = commented = _first_line(statement)
    margin = source.margin(statement)
    while commented > 1 and source.lines[commented - 2].startswith(margin + "#"):
        commented -= 1
    if commented > 1 and not isinstance(statement, ast.Import | ast.ImportFrom):
        first = commented
    at = source.starts[first - 1]
    return Edit(at, at, "".join(margin + line + source.newline for line in lines), source.path)


def insert_after(source: Source, statement: ast.stmt, lines: Sequence[str]) -> Edit:
    """Put lines after a statement and the comments that end its block."""
    _own_lines(source, statement)
    margin = source.margin(statement)
    last = statement.end_lineno or statement.lineno
    if isinstance(getattr(statement, "body", None), list):
        last = _trailing_comments(source, last, margin)
    at = source.starts[last]
    text = "".join(margin + line + source.newline for line in lines)
    if not source.lines[last - 1].endswith(("\n", "\r")):
        text = source.newline + text.removesuffix(source.newline)
    return Edit(at, at, text, source.path)


def remark(source: Source, line: int, text: str) -> Edit:
    """Put a comment over the statement that a line is of, in lines of at most 100 characters."""
    around = [
        node
        for node in source.nodes
        if isinstance(node, ast.stmt) and _first_line(node) <= line <= (node.end_lineno or 0)
    ]
    first = max((_first_line(node) for node in around), default=line)
    while first > 1 and first in source.inside_strings:
        first -= 1
    found = source.lines[first - 1]
    margin = found[: len(found) - len(found.lstrip(" \t\f"))]
    lines = textwrap.wrap(text, width=max(60, 98 - len(margin)), subsequent_indent="  ", break_long_words=False)
    at = source.starts[first - 1]
    return Edit(at, at, "".join(f"{margin}# {one}{source.newline}" for one in lines), source.path)


def guard(source: Source, statements: Sequence[ast.stmt], test: str) -> list[Edit]:
    """Indent neighbouring statements under ``if test:``; lines inside of strings stay as they are."""
    for statement in statements:
        _own_lines(source, statement)
    first, last = _first_line(statements[0]), statements[-1].end_lineno or statements[-1].lineno
    margin = source.margin(statements[0])
    at = source.starts[first - 1]
    return [Edit(at, at, f"{margin}if {test}:{source.newline}", source.path), *_indented(source, first, last)]


def join_guard(source: Source, guarded: ast.If, statements: Sequence[ast.stmt]) -> list[Edit]:
    """Indent the statements that follow an existing ``if``, so that they join it."""
    for statement in statements:
        _own_lines(source, statement)
    margin, inner = source.margin(guarded), source.margin(guarded.body[0])
    first, last = _first_line(statements[0]), statements[-1].end_lineno or statements[-1].lineno
    return _indented(source, first, last, inner.removeprefix(margin))


def only_else(source: Source, choice: ast.If) -> list[Edit]:
    """Leave of a choice what its ``else`` does, in the choice's place."""
    for statement in (choice, choice.orelse[0]):
        _own_lines(source, statement)
    return _released(source, choice, choice.orelse[0], _header_end(source, choice) + 1)


def only_body(source: Source, block: ast.With) -> list[Edit]:
    """Leave of a ``with`` statement its body, in its place."""
    for statement in (block, block.body[0]):
        _own_lines(source, statement)
    return _released(source, block, block.body[0], (block.items[-1].context_expr.end_lineno or block.lineno) + 1)


def _released(source: Source, block: ast.stmt, inside: ast.stmt, first: int) -> list[Edit]:
    """Leave of a block the lines from the first one on, indented as the block is and no longer as what is inside."""
    margin, inner = source.margin(block), source.margin(inside)
    deeper = len(inner) - len(margin)
    return [
        lines(source, block.lineno, first - 1),
        *(
            Edit(source.starts[line - 1], source.starts[line - 1] + deeper, "", source.path)
            for line in range(first, (block.end_lineno or block.lineno) + 1)
            if line not in source.inside_strings and source.lines[line - 1].startswith(inner)
        ),
    ]


def _header_end(source: Source, choice: ast.If) -> int:
    """The number of the line that says ``else:``."""
    margin = source.margin(choice)
    last = choice.body[-1].end_lineno or choice.body[-1].lineno
    lines = range(last + 1, choice.orelse[0].lineno)
    return next(line for line in lines if source.lines[line - 1].startswith(f"{margin}else"))


def own_lines(source: Source, statement: ast.stmt) -> tuple[Edit, ...]:
    """Edits that give a statement and its neighbours lines of their own; none where they have them already."""
    block, owner = _neighbours(source, statement)
    start = source.span(block[0])[0]
    before = source.text[source.starts[block[0].lineno - 1] : start]
    margin = source.margin(block[0])
    edits: list[Edit] = []
    if before.strip():
        margin = source.margin(owner) + source.indent
        edits.append(Edit(start - len(before) + len(before.rstrip(" \t")), start, source.newline + margin, source.path))
    for previous, node in pairwise(block):
        edits.append(Edit(source.span(previous)[1], source.span(node)[0], source.newline + margin, source.path))
    end = source.span(block[-1])[1]
    rest = source.text[end : source.starts[block[-1].end_lineno or 0]]
    if rest.lstrip(" \t").startswith(";"):
        edits.append(Edit(end, end + rest.index(";") + 1, "", source.path))
    return tuple(edits)


def _own_lines(source: Source, statement: ast.stmt) -> None:
    """Raise SharedLineError where a statement has not its lines to itself."""
    start, end = source.span(statement)
    before = source.text[source.starts[statement.lineno - 1] : start]
    after = source.text[end : source.starts[statement.end_lineno or 0]].strip()
    if before.strip() or (after and not after.startswith("#")):
        raise SharedLineError(own_lines(source, statement))


def _neighbours(source: Source, statement: ast.stmt) -> tuple[list[ast.stmt], ast.stmt]:
    """The statements that share lines with a statement, and the compound statement that they belong to."""
    for node in ast.walk(source.tree):
        for block in blocks(node):
            if statement in block:
                first = last = block.index(statement)
                while first and block[first - 1].end_lineno == block[first].lineno:
                    first -= 1
                while last + 1 < len(block) and block[last + 1].lineno == block[last].end_lineno:
                    last += 1
                owner = node if isinstance(node, ast.stmt | ast.ExceptHandler) else statement
                return block[first : last + 1], cast(ast.stmt, owner)
    raise ValueError("the statement is not in this source")


def _first_line(statement: ast.stmt) -> int:
    """The number of a statement's first line, with its decorators."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(node.lineno for node in decorators)])


def _trailing_comments(source: Source, last: int, margin: str) -> int:
    """The last line of the comments that end a block, which are indented deeper than its header."""
    line = last + 1
    while line <= len(source.lines):
        text = source.lines[line - 1]
        if text.strip() and not (text.lstrip(" \t").startswith("#") and text.startswith((margin + " ", margin + "\t"))):
            break
        if text.strip():
            last = line
        line += 1
    return last


def _indented(source: Source, first: int, last: int, unit: str = "") -> list[Edit]:
    """Indent lines by one level, save empty ones and those that begin inside a string."""
    unit = unit or source.indent
    return [
        Edit(source.starts[line - 1], source.starts[line - 1], unit, source.path)
        for line in range(first, last + 1)
        if line not in source.inside_strings and source.lines[line - 1].strip()
    ]
