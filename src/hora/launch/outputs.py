"""What each worker wrote, in files where the user wants them: horovodrun's ``--output-filename``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from hora.errors import HoraError
from hora.launch.line_files import LineFiles
from hora.launch.result import Line, RunResult


class Outputs:
    """A context that writes ``rank.0/stdout``, ``rank.0/stderr`` and so on into a directory, as horovodrun does.

    Parameters
    ----------
    directory
        Where; it is made. Files of an earlier job there are written anew.
    workers
        How many there are; the ranks are padded with zeros to the same length.
    on_notice
        Called with what went wrong, once.

    Raises
    ------
    HoraError
        The directories cannot be made.
    """

    def __init__(self, directory: Path, workers: int, on_notice: Callable[[str], None]) -> None:
        digits = len(str(workers - 1))
        self._places = [directory / f"rank.{rank:0{digits}}" for rank in range(workers)]
        self._files = LineFiles(lambda error: on_notice(f"the workers' output in {directory} is not written: {error}"))
        try:
            for place in self._places:
                place.mkdir(parents=True, exist_ok=True)
                for stream in ("stdout", "stderr"):
                    (place / stream).write_text("")
        except OSError as error:
            raise HoraError(
                f"run --output-filename {directory}", f"it cannot be written: {error}", "Name another directory."
            ) from error

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def line(self, line: Line) -> None:
        """Write a worker's line; a progress bar's states are left out save the last."""
        if not line.transient:
            self._files.write(self._places[line.rank] / line.stream, line.text)

    def verdict(self, result: RunResult) -> None:
        """Write the tracebacks that workers failed with, which are not among their lines."""
        for exit in result.exits:
            if exit.traceback:
                self._files.write(self._places[exit.rank] / "stderr", exit.traceback)
