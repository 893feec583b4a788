"""A Python source file: its bytes, its text and where each syntax node lies in the text.

Everything else in this room works on :class:`Source`. Edits are spans of its text, so whatever no rule touches
(encoding, line endings, tabs, form feeds, comments) is written back byte for byte.
"""

from __future__ import annotations

import ast
import bisect
import codecs
import io
import re
import tokenize
import warnings
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hora.errors import HoraError

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_PYTHON_2 = ("Missing parentheses in call to", "multiple exception types must be parenthesized", "leading zeros in")


@dataclass(frozen=True)
class Source:
    """A parsed source file.

    Attributes
    ----------
    path
        Where it was read; the text may be newer than the file.
    text
        The decoded text, its line endings as they are, without a byte order mark.
    encoding
        The encoding that the file declares.
    bom
        The bytes of its byte order mark, or none.
    tree
        Its syntax tree.
    """

    path: Path
    text: str
    encoding: str
    bom: bytes
    tree: ast.Module = field(repr=False, compare=False)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of its syntax tree, as `ast.walk` gives them."""
        return tuple(ast.walk(self.tree))

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """The node that each node is a part of."""
        return {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """Its lines as Python counts them, each with its own line ending."""
        found = [match.group() for match in _LINE.finditer(self.text)]
        return tuple(found[:-1] if found[-1] == "" and len(found) > 1 else found)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The offset at which each line starts, and that of the text's end."""
        offsets = [0]
        for line in self.lines:
            offsets.append(offsets[-1] + len(line))
        return tuple(offsets)

    @cached_property
    def newline(self) -> str:
        """The line ending that most lines have."""
        endings = Counter(line[len(line.rstrip("\r\n")) :] for line in self.lines)
        endings.pop("", None)
        return endings.most_common(1)[0][0] if endings else "\n"

    @cached_property
    def indent(self) -> str:
        """One level of indentation, as the file's first indented block has it."""
        for node in ast.walk(self.tree):
            body = getattr(node, "body", None)
            if isinstance(node, ast.stmt) and isinstance(body, list) and body[0].lineno > node.lineno:
                outer, inner = self.margin(node), self.margin(body[0])
                if inner.startswith(outer) and len(inner) > len(outer):
                    return inner[len(outer) :]
        return "    "

    @cached_property
    def inside_strings(self) -> frozenset[int]:
        """Numbers of the lines that begin inside a string, where indentation is content."""
        inside: set[int] = set()
        opened: list[int] = []
        for token in tokenize.generate_tokens(io.StringIO("".join(self.lines), newline="").readline):
            kind = tokenize.tok_name[token.type]
            if kind == "STRING":
                inside.update(range(token.start[0] + 1, token.end[0] + 1))
            elif kind in ("FSTRING_START", "TSTRING_START"):
                opened.append(token.start[0])
            elif kind in ("FSTRING_END", "TSTRING_END"):
                inside.update(range(opened.pop() + 1, token.end[0] + 1))
        return frozenset(inside)

    def offset(self, line: int, column: int) -> int:
        """Offset in the text of a line (from 1) and a column in UTF-8 bytes (from 0), as ``ast`` gives them."""
        text = self.lines[line - 1]
        if not text.isascii():
            column = len(text.encode("utf-8", "surrogatepass")[:column].decode("utf-8", "surrogatepass"))
        return self.starts[line - 1] + column

    def line_of(self, offset: int) -> int:
        """The number of the line that an offset is on."""
        return bisect.bisect_right(self.starts, offset)

    def span(self, node: ast.expr | ast.stmt | ast.keyword | ast.arg) -> tuple[int, int]:
        """Where a node's text starts and ends."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)

    def segment(self, node: ast.expr | ast.stmt | ast.keyword) -> str:
        """The text of a node."""
        start, end = self.span(node)
        return self.text[start:end]

    def margin(self, node: ast.stmt | ast.expr) -> str:
        """The white space that the node's line begins with."""
        line = self.lines[node.lineno - 1]
        return line[: len(line) - len(line.lstrip(" \t\f"))]

    def encoded(self) -> bytes:
        """The file's bytes."""
        return self.bom + self.text.encode(self.encoding)


def read(path: Path, asked: str) -> Source:
    """Read and parse a Python file.

    Parameters
    ----------
    path
        The file.
    asked
        What it is read for, to begin an error with.

    Raises
    ------
    HoraError
        The file is not there, is a directory, is not text or is not Python 3.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise HoraError(asked, f"there is no file {path}", "Give the path of a training script.") from None
    except IsADirectoryError:
        raise HoraError(asked, f"{path} is a directory", "Give the script in it that starts the training.") from None
    except OSError as error:
        raise HoraError(asked, f"{path} cannot be read: {error.strerror}", "Give a file that can be read.") from None
    bom = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        encoding = "utf-8" if bom else encoding
        text = data[len(bom) :].decode(encoding)
    except (SyntaxError, UnicodeDecodeError):
        raise HoraError(asked, f"{path} is not Python source: it is not text", "Give a Python script.") from None
    return parse(text, path=path, encoding=encoding, bom=bom, asked=asked)


def parse(text: str, *, path: Path, encoding: str = "utf-8", bom: bytes = b"", asked: str = "convert") -> Source:
    """Parse a text; raises :class:`hora.errors.HoraError` when it is not Python 3."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            tree = ast.parse(text, filename=str(path))
    except SyntaxError as error:
        reason = error.msg or "invalid syntax"
        if reason.startswith(_PYTHON_2):
            reason, mend = f"it is Python 2 ({reason})", "Bring the script to Python 3 first, for instance with 2to3."
        elif "async=" in (error.text or "").replace(" ", ""):
            reason, mend = (
                "'async' is a keyword since Python 3.7",
                "Write non_blocking=True in the place of async=True.",
            )
        else:
            mend = "Give a script that Python itself accepts."
        raise HoraError(asked, f"{path}:{error.lineno} is not Python 3: {reason}", mend, status=1) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise HoraError(asked, f"{path} does not parse: {error}", "Give a Python script.", status=1) from None
    return Source(path=path, text=text, encoding=encoding, bom=bom, tree=tree)
