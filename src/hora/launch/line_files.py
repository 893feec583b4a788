"""Files that lines are appended to while a job runs. They are an aid: the first that fails is told, and is the last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO


class LineFiles:
    """Open files, by their paths.

    Parameters
    ----------
    on_error
        Called once, with why nothing is written any more.
    """

    def __init__(self, on_error: Callable[[str], None]) -> None:
        self._on_error = on_error
        self._files: dict[Path, IO[str]] = {}
        self._broken = False

    @property
    def whole(self) -> bool:
        """Whether something was written, and nothing failed."""
        return bool(self._files) and not self._broken

    def write(self, path: Path, text: str) -> None:
        """Append a line."""
        if self._broken:
            return
        try:
            if path not in self._files:
                self._files[path] = path.open("a", encoding="utf-8", errors="replace", buffering=1)
            self._files[path].write(text + "\n")
        except OSError as error:
            self.give_up(error)

    def give_up(self, error: OSError) -> None:
        """Write nothing any more."""
        if not self._broken:
            self._broken = True
            self._on_error(error.strerror or str(error))

    def close(self) -> None:
        """Close all of them."""
        files, self._files = self._files, {}
        for file in files.values():
            try:
                file.close()
            except OSError as error:
                self.give_up(error)
