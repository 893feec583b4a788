"""Keeps what each worker wrote in a file of its own, on the launcher's host, also where the terminal forgets it.

The files are an aid: a full disk or a place that cannot be written to ends no run, and is told once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from hora.launch.line_files import LineFiles
from hora.launch.result import Line, RunResult

KEPT_RUNS = 20
"""Directories of older runs are removed once they have ended, save so many of the newest."""


class Logs:
    """A context that writes ``worker-RANK.log`` files into a directory of one job.

    Parameters
    ----------
    directory
        Which; its parent holds those of other jobs, whose names begin with the time of their start.
    on_notice
        Called with what went wrong, once.
    """

    def __init__(self, directory: Path, on_notice: Callable[[str], None]) -> None:
        self.directory = directory
        self._files = LineFiles(lambda error: on_notice(f"the workers' logs in {directory} are not written: {error}"))
        self._held: int | None = None

    def __enter__(self) -> Logs:
        try:
            self.directory.mkdir(mode=0o700, parents=True)
            self._held = _hold(self.directory, fcntl.LOCK_SH)
            for old in sorted(self.directory.parent.iterdir())[:-KEPT_RUNS]:
                _remove(old)
        except OSError as error:
            self._files.give_up(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()
        if self._held is not None:
            os.close(self._held)

    @property
    def place(self) -> Path | None:
        """The directory; None where the files are not whole."""
        return self.directory if self._files.whole else None

    def line(self, line: Line) -> None:
        """Write a worker's line; a progress bar's states are left out save the last."""
        if not line.transient:
            self._write(line.rank, line.text)

    def verdict(self, result: RunResult) -> None:
        """Write the tracebacks that workers failed with, which are not among their lines."""
        for exit in result.exits:
            if exit.traceback:
                self._write(exit.rank, exit.traceback)

    def _write(self, rank: int, text: str) -> None:
        self._files.write(self.directory / f"worker-{rank}.log", text)


def _hold(directory: Path, kind: int) -> int | None:
    """Lock a directory, for as long as the descriptor is open; None where that is not possible now."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:  # somebody holds it, or the file system has no locks
        os.close(descriptor)
        return None
    return descriptor


def _remove(directory: Path) -> None:
    """Remove the directory of a job, unless that still runs or another launcher removes it as well."""
    with contextlib.suppress(OSError):
        held = _hold(directory, fcntl.LOCK_EX)
        if held is not None:
            shutil.rmtree(directory, ignore_errors=True)
            os.close(held)


def log_directory(job: str) -> Path:
    """Return where a job's logs belong."""
    return state_directory() / "runs" / job


def state_directory() -> Path:
    """Return where Hora keeps what outlives a job, as the XDG specification has it."""
    state = os.environ.get("XDG_STATE_HOME", "")
    # The specification has relative paths ignored.
    base = Path(state) if Path(state).is_absolute() else Path(os.path.expanduser("~/.local/state"))
    return base / "hora"
