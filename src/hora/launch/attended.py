"""A job that a person attends to: its output printed and kept, signals that end it, and a box that says what failed."""

from __future__ import annotations

import errno
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from hora.launch.job import Errand, Job
from hora.launch.live import Live
from hora.launch.logs import Logs, log_directory
from hora.launch.outputs import Outputs
from hora.launch.report import Report
from hora.launch.request import Request, Stage, stage
from hora.launch.result import Line, RunResult
from hora.launch.signals import quit_asks, signals_request
from hora.launch.stop import Stop
from hora.launch.watch import Patience, Watch, patience


def attend(
    command: Sequence[str],
    request: Request,
    paths: Sequence[Path],
    *,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    grace: float = 5.0,
    output: Path | None = None,
    advise: Callable[[Stage, int, Callable[[str], None]], None] = lambda where, workers, notice: None,
    errand: Errand | None = None,
) -> RunResult:
    r"""Run a command as the workers that a request asks for, and print their output.

    Ctrl-C, SIGTERM and a closed terminal end the workers; a second Ctrl-C kills them at once. SIGQUIT (Ctrl-\) prints
    their stacks. Called in another thread than the main one, it leaves signals alone.

    Parameters
    ----------
    command
        What each worker executes.
    request
        Which hosts, how many workers there, whether the job is elastic.
    paths
        Files and directories that must be there on each host.
    env
        Variables to set for all workers.
    timeout, grace
        As in `hora.launch.run`; the former counts for each generation.
    output
        A directory for what each worker writes, beside the logs that are kept anyway.
    advise
        Called before the workers start, with the hosts, how many workers there are, and what prints a notice.
    errand
        What is carried to the workers' hosts and back.

    Returns
    -------
    RunResult
        How the job ended, or its last generation. Where nobody reads the output any more it was stopped by SIGPIPE.

    Raises
    ------
    HoraError
        The request contradicts itself, or a host cannot be used.
    """
    stop, env = Stop(), env or {}
    try:
        with signals_request(stop), stage(request, paths, _to_stderr) as where:
            workers = where.workers if where.bounds is None else where.bounds.most
            name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
            with _Attendance(name, workers, patience({**os.environ, **env}), output) as attendance:
                advise(where, workers, attendance.notice)
                job = Job(
                    command,
                    {"HORA_JOB": name, **env},
                    on_line=attendance.line,
                    on_notice=attendance.notice,
                    timeout=timeout,
                    grace=grace,
                    stop=stop,
                    on_tick=attendance.tick,
                    watch=attendance.watch,
                    errand=errand,
                )
                with quit_asks(attendance.watch.ask_for_stacks):
                    result = where.run(job, attendance.verdict)
                attendance.verdict(result)
                return result
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        _stop_printing()
        return RunResult((), None, False, signal.SIGPIPE if stop.signal is None else stop.signal, 0.0)


class _Attendance:
    """A context within which a job's output is printed and kept, and its workers are watched.

    Parameters
    ----------
    name
        The job's name, which its logs are found by.
    workers
        How many there are at most.
    patience
        How long they may wait for each other.
    output
        A directory for what each worker writes, beside the logs.
    """

    def __init__(self, name: str, workers: int, patience: Patience, output: Path | None) -> None:
        self._report = Report(workers, sys.stdout, sys.stderr)
        self.notice, self.tick = self._report.notice, self._report.tick
        self._logs = Logs(log_directory(name), self.notice)
        self._kept: list[Logs | Outputs] = [self._logs]
        if output is not None:
            self._kept.append(Outputs(output, workers, self.notice))
        draws = self._report.has_terminal and os.environ.get("HORA_LIVE") != "0"
        self._live = Live(self._report.status if draws else None, self.notice)
        self.watch = Watch(patience, self.notice, self._live.show, self._logs.directory)
        self._open = ExitStack()

    def __enter__(self) -> _Attendance:
        for kept in self._kept:
            self._open.enter_context(kept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def line(self, line: Line) -> None:
        """Keep and print a worker's line."""
        for kept in self._kept:
            kept.line(line)
        self._report.line(line)
        self._live.read(line)

    def verdict(self, result: RunResult) -> None:
        """Keep and print how a generation ended."""
        for kept in self._kept:
            kept.verdict(result)
        self._report.verdict(result, self._logs.place, self.watch.steps)


def _to_stderr(notice: str) -> None:
    print(f"hora: {notice}", file=sys.stderr)


def _stop_printing() -> None:
    """Point this process's output nowhere: its reader has gone, and flushing at exit would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
