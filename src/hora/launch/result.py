"""What a run of several workers tells its caller: lines while it goes on, then how each worker ended."""

from __future__ import annotations

import signal as signals
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

TIMED_OUT = 124
"""The exit status of a run that its time limit ended, as coreutils' ``timeout`` returns it."""

RESTART = 79
"""The exit status of an elastic job's worker whose state is committed, and that asks for a new generation."""

Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True)
class Line:
    """One line that a worker wrote.

    Attributes
    ----------
    rank
        The worker that wrote it.
    stream
        Where it wrote it.
    text
        The line, decoded from UTF-8, without its end.
    transient
        It ended in a carriage return: a progress bar that the next line of this stream draws over.
    """

    rank: int
    stream: Stream
    text: str
    transient: bool = False


@dataclass(frozen=True)
class WorkerExit:
    """How one worker ended.

    Attributes
    ----------
    rank, pid
        Which worker, which process.
    host
        The host that it ran on, where there are several.
    status
        The exit status as a shell gives it: 128 + the signal's number if one killed the worker. It is 1 for a worker
        that aborted while it ended because of an exception, as some do and some do not.
    signal
        The number of the signal that killed it, else None.
    traceback
        The traceback that were its last words, else None.
    error
        First line of the exception that this ends in, such as ``"ValueError: boom"``.
    lost_connection
        Its last words are of a lost connection to another worker: rather a victim than a cause.
    stopped
        The launcher asked it to end before it ended.
    failed_at
        When it was seen to fail by itself (its traceback began, or else it ended): seconds since the start, else None.
    ended_at
        When its process ended: seconds since the start.
    last_line
        The last line of its standard error, if it failed.
    lost
        Why it was given up, such as a host without a sign of life, or a stall that it caused; else None.
    restarts
        It asked for a new generation, which is no failure.
    because
        Why SIGKILL ended it, as its host's kernel tells; None where it does not.
    """

    rank: int
    pid: int
    status: int
    signal: int | None
    traceback: str | None
    error: str | None
    lost_connection: bool
    stopped: bool
    failed_at: float | None
    ended_at: float
    last_line: str | None = None
    lost: str | None = None
    restarts: bool = False
    host: str | None = None
    because: str | None = None

    @property
    def who(self) -> str:
        """Which worker in words, such as ``"worker 3 on b"``."""
        return f"worker {self.rank}" if self.host is None else f"worker {self.rank} on {self.host}"

    @property
    def how(self) -> str:
        """How it ended in words, such as ``"exit status 3"`` or ``"killed by SIGKILL"``."""
        if self.lost is not None:
            return self.lost
        if self.signal is None:
            return f"exit status {self.status}"
        name = signal_name(self.signal)
        return f"killed by {name}" if self.status > 128 else f"exit status {self.status}, {name} while it ended"


@dataclass(frozen=True)
class RunResult:
    """How a run of several workers ended.

    Attributes
    ----------
    exits
        One per worker, by rank.
    first_failure
        The worker whose failure is the cause of the others', None if none failed by itself.
    timed_out
        The run's time limit ended it.
    stopped_by
        The number of the signal that asked the run to end, None if none did.
    seconds
        From the start of the first worker to the end of the last.
    """

    exits: tuple[WorkerExit, ...]
    first_failure: WorkerExit | None
    timed_out: bool
    stopped_by: int | None
    seconds: float

    @property
    def restarts(self) -> bool:
        """Whether the workers asked for a new generation, and nothing failed."""
        return self.first_failure is None and any(exit.restarts for exit in self.exits)

    @property
    def status(self) -> int:
        """0 if all went well; else the first failing worker's status, 124 after a time-out, 128 + signal if stopped."""
        if self.first_failure is not None:
            return self.first_failure.status
        if self.timed_out:
            return TIMED_OUT
        return 0 if self.stopped_by is None else 128 + self.stopped_by


def signal_name(number: int) -> str:
    """Name of a signal, such as ``"SIGKILL"``."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def ranks(numbers: Iterable[int]) -> str:
    """Workers by their numbers, such as ``"worker 1"`` or ``"workers 0, 2"``."""
    names = [str(number) for number in numbers]
    return f"worker{'s' if len(names) > 1 else ''} {', '.join(names)}"
