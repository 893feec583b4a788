"""One worker: a process in a session of its own, what comes through its two pipes, and how it ended."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hora.launch.guard import Guard
from hora.launch.lines import LineSplitter, Piece
from hora.launch.memory import OutOfMemory
from hora.launch.process import Starter
from hora.launch.result import RESTART, Line, Stream, WorkerExit
from hora.launch.tracebacks import TracebackHold, tells_lost_connection

_CHUNK = 1 << 16
_PIPE_CHUNKS = 16  # 1 MiB, the most that a pipe holds
_LAST_WORDS = 20


class Pipe:
    """The launcher's end of one of a worker's pipes; `fileno` makes it fit for a selector.

    Attributes
    ----------
    stream
        What the worker writes into it.
    ended
        Nobody can write into it any more, and all was read.
    """

    def __init__(self, stream: Stream, fd: int) -> None:
        self.stream = stream
        self.ended = False
        self._fd = fd
        self._splitter = LineSplitter()
        os.set_blocking(fd, False)

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._fd

    def read(self) -> Iterable[Piece] | None:
        """Return the lines that the next chunk completes, None if there is nothing to read now."""
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return None
        self.ended = not data
        return self._splitter.feed(data) if data else self._splitter.close()

    def close(self) -> Iterable[Piece]:
        """Close it; return what its last line left."""
        os.close(self._fd)
        return self._splitter.close()


class Worker:
    """A worker that has been started.

    Times are seconds since the start of the run.

    Parameters
    ----------
    rank
        Its number.
    command, env, cwd
        What to execute, with which environment (the whole of it), where.
    guard
        What ends it if this process dies.
    start
        What starts it.
    host
        Where, if there are several hosts.

    Attributes
    ----------
    pid
        Its process, and the process group that it leads.
    pipes
        Its output.
    ended_at
        When it was seen to have ended, None before.
    gone
        It has ended, its children with it, and all its output was read.
    stopped_at
        When it was asked to end, None if it ended by itself.

    Raises
    ------
    OSError
        There is no such command or directory.
    """

    def __init__(
        self,
        rank: int,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: Path | None,
        guard: Guard,
        start: Starter,
        host: str | None = None,
    ) -> None:
        self.rank = rank
        self._host = host
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        self.pipes = (Pipe("stdout", out), Pipe("stderr", err))
        try:
            self._process = start(command, env, cwd, guard, out_end, err_end)
        except OSError:
            os.close(out)
            os.close(err)
            raise
        finally:
            os.close(out_end)
            os.close(err_end)
        self.pid = self._process.pid
        self.ended_at: float | None = None
        self.stopped_at: float | None = None
        self.gone = False
        self._hold = TracebackHold()
        self._condemned: str | None = None
        self._because: str | None = None
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)

    @property
    def who(self) -> str:
        """Which worker in words, such as ``"worker 3 on b"``."""
        return f"worker {self.rank}" if self._host is None else f"worker {self.rank} on {self._host}"

    def begin(self) -> None:
        """Let what it writes come: it is read from now on."""
        self._process.begin()

    def read(self, pipe: Pipe, now: float) -> list[Line] | None:
        """Read a chunk; return the lines to show now, None if there was nothing to read."""
        pieces = pipe.read()
        return None if pieces is None else self._lines(pipe.stream, pieces, now)

    def drain(self, now: float) -> list[Line]:
        """Read what a worker that has ended left in its pipes; return the lines to show now."""
        lines: list[Line] = []
        for pipe in self.pipes:
            for _ in range(_PIPE_CHUNKS):  # a child of the worker may go on writing for ever
                if pipe.ended or (more := self.read(pipe, now)) is None:
                    break
                lines += more
        return lines

    def finish(self, now: float) -> list[Line]:
        """Let go of the pipes, once the worker and its children are gone; return the last lines to show."""
        lines = self.drain(now)
        for pipe in self.pipes:
            lines += self._lines(pipe.stream, pipe.close(), now)
        self.gone = True
        return lines + self._shown(self._hold.let_go() if self._process.returncode == 0 else [])

    def tick(self, now: float) -> list[Line]:
        """Return the lines of a traceback that was held for long enough."""
        return self._shown(self._hold.tick(now))

    def afterwards(self) -> list[Line]:
        """Lines that were held as the cause of its end and must be shown, since that is another worker's failure."""
        held, stopped_at = self._hold.traceback, self.stopped_at
        survived = (
            held is not None and not held.lost_connection and stopped_at is not None and held.begun_at < stopped_at
        )
        return self._shown(self._hold.let_go() if survived else self._hold.doubtful())

    def poll(self, now: float, memory: OutOfMemory) -> bool:
        """Look whether it has ended since the last look; `memory` tells why this host killed it."""
        if self.ended_at is not None or self._process.poll() is None:
            return False
        self.ended_at = now
        by_itself = self.stopped_at is None and self._condemned is None and self._process.lost is None
        if by_itself and self._process.returncode == -signal.SIGKILL:
            self._because = self._process.why_killed(memory)
        return True

    def ask(self, number: int, now: float) -> None:
        """Ask it to end by a signal to it alone: it may need its children, such as loader workers, to end in order."""
        if self._process.poll() is None:
            self.stopped_at = now
            self._process.send_signal(number)

    def sweep(self, number: int) -> None:
        """Send a signal to it and all its children."""
        self._process.sweep(number)

    def group_is_alive(self) -> bool:
        """Whether it or one of its children is still there."""
        return self._process.group_is_alive()

    def heartbeat(self) -> bytes:
        """Return the last heartbeat that it wrote, empty if it has written none."""
        return self._process.heartbeat()

    def state(self) -> str:
        """Return the letter that Linux has for its state, as far as known."""
        return self._process.state()

    def stacks(self) -> str:
        """Return the stacks of its threads, or why they cannot be had; takes some seconds at most."""
        return self._process.stacks()

    def condemn(self, why: str) -> None:
        """Kill it as the cause of what is wrong with the others."""
        self._condemned = why
        self.sweep(signal.SIGKILL)

    def kill(self) -> None:
        """End it and its children at once, heedless of what they have written."""
        self.sweep(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        for pipe in self.pipes:
            pipe.close()
        self.gone = True

    def holds_traceback(self) -> bool:
        """Whether it has written a traceback that may be its last words."""
        return self._hold.traceback is not None

    def exit(self, elastic: bool = False) -> WorkerExit:
        """How it ended, once it has; in an elastic job it may have asked for a new generation."""
        code = self._process.returncode
        code = -signal.SIGKILL if code is None else code  # not even that: see `supervision.KILL_SECONDS`
        ended_at = self.ended_at if self.ended_at is not None else math.inf
        last = self._hold.traceback if code else None
        failed_at = last.begun_at if last else ended_at
        restarts = elastic and code == RESTART
        by_itself = self.stopped_at is None or failed_at < self.stopped_at
        # torch's threads may abort a process that Python is already ending, with status 1, because of an exception.
        aborted = code == -signal.SIGABRT
        status = 1 if aborted and last and last.error else code if code >= 0 else 128 - code
        return WorkerExit(
            rank=self.rank,
            pid=self.pid,
            status=status,
            signal=-code if code < 0 else None,
            traceback=last.text if last else None,
            error=last.error if last else None,
            last_line=self._last_words[-1] if code and self._last_words else None,
            lost_connection=last.lost_connection if last else aborted and tells_lost_connection(self._last_words),
            stopped=self.stopped_at is not None,
            failed_at=failed_at if code and by_itself and not restarts else None,
            ended_at=ended_at,
            lost=self._process.lost or (self._condemned if code else None),
            restarts=restarts,
            host=self._host,
            because=self._because,
        )

    def _lines(self, stream: Stream, pieces: Iterable[Piece], now: float) -> list[Line]:
        """Return the lines to show of the pieces that a pipe gave."""
        lines: list[Line] = []
        for text, transient in pieces:
            if stream == "stdout" or transient:
                lines.append(Line(self.rank, stream, text, transient))
            else:
                self._last_words.append(text)
                lines += self._shown(self._hold.feed(text, now))
        return lines

    def _shown(self, texts: Iterable[str]) -> list[Line]:
        return [Line(self.rank, "stderr", text) for text in texts]
