"""Bytes as they come from a pipe -> lines of text. A carriage return ends one too: progress bars write nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")


class Piece(NamedTuple):
    """A line and whether the next one draws over it."""

    text: str
    transient: bool


class LineSplitter:
    """Cuts a stream of bytes into lines.

    A line is found by looking at each byte once, however long the line and however small the pieces it comes in.
    """

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self._returned: bytes | None = None  # what a carriage return at the end of the last chunk ended

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Yield the lines that `data` completes."""
        start = 0
        for end in _LINE_END.finditer(data):
            yield from self._line(data[start : end.start()], end.group())
            start = end.end()
        if start < len(data):
            self._begun.append(data[start:])
            self._returned = None

    def close(self) -> Iterator[Piece]:
        """Yield what the stream's end leaves: a line without an end, or a progress bar's last state."""
        rest = b"".join(self._begun) or self._returned
        self._begun, self._returned = [], None
        if rest:
            yield Piece(_text(rest), transient=False)

    def _line(self, data: bytes, end: bytes) -> Iterator[Piece]:
        self._begun.append(data)
        line, self._begun = b"".join(self._begun), []
        if end != b"\r":
            # A line feed right after a carriage return is the second half of one line end.
            yield Piece(_text(line or self._returned or b""), transient=False)
            self._returned = None
        elif line:
            yield Piece(_text(line), transient=True)
            self._returned = line


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")
