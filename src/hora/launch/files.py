"""Files that a launcher carries to a host and back, in pieces that fit into a message: the agent's side."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from hora.launch.frames import LIMIT, Message

PIECE = LIMIT // 16
"""Bytes of a piece: few enough for signs of life to pass between two of them on a slow network."""


class Files:
    """Writes and reads files of one host.

    Parameters
    ----------
    on_directory
        Called with the directory of a file that is to be written; makes it where it is missing.
    """

    def __init__(self, on_directory: Callable[[Path], None]) -> None:
        self._on_directory = on_directory
        self.serve: dict[str, Callable[[Message], Message]] = {"write": self._write, "read": self._read}

    def _write(self, message: Message) -> Message:
        """Write a piece; the first one begins the file, which only this user can read."""
        path = Path(message["path"])
        self._on_directory(path.parent)
        begins = message["start"] == 0
        flags = os.O_WRONLY | (os.O_CREAT | os.O_TRUNC if begins else os.O_APPEND)
        with open(os.open(path, flags, 0o600), "wb") as file:
            file.write(message["data"])
        return {}

    def _read(self, message: Message) -> Message:
        """Read a piece, and say how large the whole is; no size is that of a file that is not there."""
        try:
            with open(message["path"], "rb") as file:
                file.seek(message["start"])
                return {"data": file.read(PIECE), "size": os.fstat(file.fileno()).st_size}
        except FileNotFoundError:
            return {"size": None}
