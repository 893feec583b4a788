"""What the launcher and a host's agent say to each other: a line of JSON, and after it as many bytes as it announces.

Nothing here is ever unpickled or executed by being read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

LIMIT = 1 << 24
"""The most bytes that a message may have, with what follows it."""

Message = dict[str, Any]


def frame(message: Message, data: bytes = b"") -> bytes:
    """Return a message as it is sent."""
    announced = {**message, "bytes": len(data)} if data else message
    return json.dumps(announced, separators=(",", ":")).encode() + b"\n" + data


class FrameReader:
    """Cuts a stream of bytes into messages, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._begun = bytearray()
        self._message: Message | None = None

    def feed(self, data: bytes) -> Iterator[tuple[Message, bytes]]:
        """Yield the messages that `data` completes, each with the bytes that followed it.

        Raises
        ------
        ValueError
            This is no such stream, such as a greeting that a login shell prints.
        """
        self._begun += data
        while True:
            if self._message is None:
                end = self._begun.find(b"\n")
                if end < 0:
                    self._check(len(self._begun))
                    return
                self._message = self._parsed(bytes(self._begun[:end]))
                del self._begun[: end + 1]
            size = self._message.get("bytes", 0)
            self._check(size)
            if len(self._begun) < size:
                return
            content = bytes(self._begun[:size])
            del self._begun[:size]
            message, self._message = self._message, None
            yield message, content

    def _parsed(self, line: bytes) -> Message:
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError(f"no message: {line[:80]!r}")
        return message

    def _check(self, size: object) -> None:
        if not isinstance(size, int) or not 0 <= size <= LIMIT:
            raise ValueError(f"a message of {size} bytes")
