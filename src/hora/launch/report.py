"""Prints a run as `hora run` shows it: each line behind its worker's number, and at a failure one box that says why.

Lines are written as they are, never wrapped: they may be read by machines, or copied.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO

from rich.console import Console
from rich.text import Text

from hora.launch.result import Line, RunResult, WorkerExit

PROGRESS_SECONDS = 10.0
"""Where no terminal draws it, a progress bar's state is printed this often."""

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_cyan", "bright_magenta", "bright_green")
_GUESSES: dict[int, str] = {
    signal.SIGKILL: "out of memory?",
    signal.SIGBUS: "shared memory full?",
    signal.SIGSEGV: "a crash in native code",
    signal.SIGILL: "built for another processor?",
}
_ERASE_LINE = "\r\x1b[K"


class Report:
    """Prints what a run tells.

    Parameters
    ----------
    workers
        How many there are.
    stdout, stderr
        Where the workers' lines go. Notices and the box go to `stderr`.
    """

    def __init__(self, workers: int, stdout: IO[str], stderr: IO[str]) -> None:
        self._consoles = {"stdout": _console(stdout), "stderr": _console(stderr)}
        self._prefixes = {
            name: [_rendered(console, f"[{rank}]", _COLOURS[rank % len(_COLOURS)]) + " " for rank in range(workers)]
            for name, console in self._consoles.items()
        }
        # What stands below the last printed line of a terminal: a worker's progress bar, the launcher's own lines.
        self._drawn: IO[str] | None = None
        self._height = 0
        self._bar = ""
        self._status: list[str] = []
        self._progress_at: dict[int, float] = {}

    def line(self, line: Line) -> None:
        """Print a worker's line; draw a progress bar over the one before, where there is a terminal."""
        console, prefix = self._consoles[line.stream], self._prefixes[line.stream][line.rank]
        if not line.transient:
            self._print(console, prefix + line.text)
        elif console.is_terminal:
            room = max(0, console.width - len(f"[{line.rank}] ") - 1)
            self._bar = prefix + line.text[:room]
            self._draw(console)
        elif time.monotonic() - self._progress_at.get(line.rank, 0.0) >= PROGRESS_SECONDS:
            self._progress_at[line.rank] = time.monotonic()
            self._print(console, prefix + line.text)

    @property
    def has_terminal(self) -> bool:
        """Whether lines can stand below the output."""
        return self._consoles["stderr"].is_terminal

    def status(self, lines: Sequence[str]) -> None:
        """Draw lines below the output, in place of those before; none takes them away."""
        console = self._consoles["stderr"]
        cut = [_cut(line, max(1, console.width - 1)) for line in lines]
        if cut != self._status:
            self._status = cut
            self._draw(console)

    def tick(self) -> None:
        """Draw them again where output has taken their place."""
        if self._status and not self._height:
            self._draw(self._consoles["stderr"])

    def notice(self, text: str) -> None:
        """Print what the launcher has to say."""
        console = self._consoles["stderr"]
        over = _ERASE_LINE if console.is_terminal else ""  # the ^C that the terminal echoes
        self._print(console, over + _rendered(console, f"hora: {text}", "yellow"))

    def verdict(
        self, result: RunResult, logs: Path | None = None, steps: Mapping[int, int] = MappingProxyType({})
    ) -> None:
        """Print which worker failed first, how, what became of the others, and where their logs are, if any failed.

        `steps` says by rank how many each had made.
        """
        self.status(())
        cause = result.first_failure
        if cause is None:
            return
        alone = len(result.exits) == 1
        self._rule(f"{cause.who} failed{'' if alone else ' first'}: {how(cause)}{_after(steps.get(cause.rank))}")
        console = self._consoles["stderr"]
        if cause.traceback:
            self._print(console, cause.traceback)
        elif cause.last_line and not alone:
            self._print(console, f"{cause.who} said last: {cause.last_line}")
        if cause.traceback and not alone:
            self._print(console, "")
        for exit in result.exits:
            if exit is not cause:
                self._print(console, f"{exit.who}: {_fate(exit, cause)}{_after(steps.get(exit.rank))}")
        if logs is not None and not alone:
            self._print(console, f"logs of all workers: {logs}")
        if cause.traceback or not alone:
            self._rule()

    def _rule(self, title: str = "") -> None:
        console = self._consoles["stderr"]
        bar = "─" if console.encoding.startswith("utf") else "-"
        start = f"{bar * 2} {title} " if title else ""
        self._print(console, _rendered(console, start + bar * max(2, console.width - len(start)), "bold red"))

    def _print(self, console: Console, text: str) -> None:
        self._erase()
        self._bar = ""
        _write(console.file, text + "\n")

    def _draw(self, console: Console) -> None:
        self._erase()
        lines = [*([self._bar] if self._bar else []), *(_rendered(console, line, "dim") for line in self._status)]
        if lines:
            _write(console.file, "\n".join(lines))
            self._drawn, self._height = console.file, len(lines)

    def _erase(self) -> None:
        """Take away what stands below the output; it is drawn again with the next look at the workers."""
        if self._drawn is not None:
            up = f"\x1b[{self._height - 1}A" if self._height > 1 else ""
            _write(self._drawn, f"\r{up}\x1b[J")
            self._drawn, self._height = None, 0


def _cut(line: str, width: int) -> str:
    """Shorten a line that is too long by whole parts, where it has some."""
    if len(line) <= width:
        return line
    whole = max(line.rfind(end, 0, width) for end in (" · ", ", "))
    return line[: whole if whole > 0 else width - 1] + "…"


def how(exit: WorkerExit) -> str:
    """How it ended, and why: what is known, else the usual reason for such a signal."""
    guess = None if exit.lost else exit.because or _GUESSES.get(exit.signal or 0)
    return f"{exit.how} ({guess})" if guess else exit.how


def _after(steps: int | None) -> str:
    return f", after {steps} step{'' if steps == 1 else 's'}" if steps else ""


def _fate(exit: WorkerExit, cause: WorkerExit) -> str:
    """What became of a worker that is not the cause."""
    if exit.status == 0 and not exit.stopped:
        return f"ended well, while worker {cause.rank} still communicated" if cause.lost_connection else "ended well"
    if exit.stopped:
        return f"stopped because worker {cause.rank} failed"
    if exit.lost_connection:
        return f"stopped because worker {cause.rank} failed (it lost its connection)"
    if exit.last_line and exit.last_line == cause.last_line and exit.status == cause.status:
        return "failed as well, and said the same"
    return f"failed as well: {exit.error or how(exit)}"


def _console(file: IO[str]) -> Console:
    return Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _rendered(console: Console, text: str, style: str) -> str:
    """Return a text with the escape sequences of a style, where the console shows colours."""
    with console.capture() as capture:
        console.print(Text(text, style), end="")
    return capture.get()


def _write(file: IO[str], text: str) -> None:
    encoding = getattr(file, "encoding", None) or "utf-8"
    file.write(text.encode(encoding, "replace").decode(encoding))
    file.flush()
