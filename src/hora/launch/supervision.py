"""The loop of a run: reads what the workers write, sees who has ended and how, and ends the others when one fails."""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from hora.errors import HoraError
from hora.launch.environment import seconds
from hora.launch.guard import Guard
from hora.launch.job import Job, ignore
from hora.launch.memory import OutOfMemory
from hora.launch.process import Starter
from hora.launch.result import Line, RunResult, WorkerExit, ranks, signal_name
from hora.launch.worker import Worker

WIND_UP_SECONDS = 5.0
"""How long a worker may take from its traceback to its end. When one fails, others that have written a traceback too
are left alone for so long; and for so long one that lost its connection is not believed to be the cause."""

KILL_SECONDS = 10.0
"""A process that is there this long after SIGKILL hangs in the kernel (a driver, a network file system) and is left."""

STRAGGLER_SECONDS = 300.0
"""Workers that outlive one that ended well by this long get a warning, unless ``HORA_STRAGGLER_SECONDS`` says else."""

RESTART_SECONDS = 15.0
"""How long the others may take to end once a worker of an elastic job has asked for a new generation."""

_PAUSE = 0.1  # between two looks at the workers while all run and write nothing
_SHORT_PAUSE = 0.02  # the same while one is about to end


@dataclass(frozen=True)
class _Ending:
    """Why and since when the run is being ended."""

    at: float
    signal: int
    for_failure: bool


class Supervision:
    """A context that supervises workers and leaves none behind.

    Parameters
    ----------
    guard
        What ends the workers if this process dies.
    job
        What is run, who hears of it, and when it is to end.
    elastic
        A worker may ask for a new generation by its exit status; the others are then ended as well.
    """

    def __init__(self, guard: Guard, job: Job, *, elastic: bool) -> None:
        self._guard, self._elastic = guard, elastic
        self._on_line, self._on_notice, self._on_tick = job.on_line, job.on_notice, job.on_tick
        self._watch = job.watch
        self._timeout, self._grace, self._stop = job.timeout, job.grace, job.stop
        self._patience = seconds("HORA_STRAGGLER_SECONDS", STRAGGLER_SECONDS)
        self._selector = selectors.DefaultSelector()
        self._started = time.monotonic()
        self._memory = OutOfMemory()
        self._workers: list[Worker] = []
        self._ending: _Ending | None = None
        self._stopped_by: int | None = None
        self._warned = self._timed_out = False

    def __enter__(self) -> Supervision:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self._on_line = self._on_notice = ignore
                self._end(signal.SIGTERM)
                self._loop()
            if self._watch is not None:
                self._watch.over()
        finally:  # a second exception (Ctrl-C again) cuts the grace short
            for worker in self._running():
                worker.kill()
            self._selector.close()

    def start(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: Path | None,
        starter: Starter,
        host: str | None = None,
    ) -> None:
        """Start the next worker."""
        rank = len(self._workers)
        try:
            worker = Worker(rank, command, env, cwd, self._guard, starter, host)
        except OSError as error:
            raise HoraError(
                f"run {' '.join(command)}", f"worker {rank} could not be started: {error}", "Check the command."
            ) from error
        self._workers.append(worker)
        for pipe in worker.pipes:
            self._selector.register(pipe, selectors.EVENT_READ, (worker, pipe))

    def see_through(self) -> RunResult:
        """Stay with the workers until the last is gone; return how they ended."""
        self._loop()
        exits = tuple(worker.exit(self._elastic) for worker in self._workers)
        cause = first_failure(exits)
        for worker in self._workers:
            if cause is None or worker.rank != cause.rank:
                self._show(worker.afterwards())
        return RunResult(exits, cause, self._timed_out, self._stopped_by, self._now())

    def _loop(self) -> None:
        for worker in self._running():
            worker.begin()
        while self._running():
            self._read()
            self._on_tick()
            if self._watch is not None and self._ending is None:
                self._watch.look(self._workers)
            for worker in self._running():
                self._look_at(worker)
            self._judge()

    def _read(self) -> None:
        """Wait for output and show it, a chunk of each pipe in turn, so that no worker stalls another."""
        for key, _events in self._selector.select(self._pause()):
            worker, pipe = key.data
            self._show(worker.read(pipe, self._now()) or ())
            if pipe.ended:
                self._selector.unregister(pipe)

    def _pause(self) -> float:
        ending = self._ending is not None or any(all(pipe.ended for pipe in w.pipes) for w in self._running())
        return _SHORT_PAUSE if ending else _PAUSE

    def _look_at(self, worker: Worker) -> None:
        """See whether a worker has ended, and its children with it."""
        now = self._now()
        if self._ending is None:
            self._show(worker.tick(now))
        if worker.poll(now, self._memory):
            self._show(worker.drain(now))
            worker.sweep(signal.SIGTERM)  # the children that it leaves
        elif (
            self._ending is not None and worker.stopped_at is None and not self._may_wind_up(worker, self._ending, now)
        ):
            worker.ask(self._ending.signal, now)
        since = worker.stopped_at if worker.ended_at is None else worker.ended_at
        if worker.ended_at is not None and not worker.group_is_alive():
            self._let_go(worker)
        elif self._stop.urgent or (since is not None and now - since > self._grace):
            worker.sweep(signal.SIGKILL)
            if since is not None and now - since > self._grace + KILL_SECONDS:
                self._on_notice(
                    f"worker {worker.rank} (process group {worker.pid}) does not end on SIGKILL and is left behind"
                )
                self._let_go(worker)

    def _judge(self) -> None:
        """Decide whether the run should end."""
        now = self._now()
        running = [worker for worker in self._workers if worker.ended_at is None]
        if running and self._stop.signal is not None and self._stopped_by is None:
            again = "; Ctrl-C again kills them" if self._stop.signal == signal.SIGINT else ""
            self._on_notice(f"{signal_name(self._stop.signal)}: ending {ranks(w.rank for w in running)}{again}")
            self._stopped_by = self._stop.signal
            self._end(self._stop.signal)
        if self._ending is not None or not running:
            return
        exits = [worker.exit(self._elastic) for worker in self._workers if worker.ended_at is not None]
        cause = first_failure(exits)
        if cause is not None:
            if not cause.lost_connection or now - cause.ended_at > WIND_UP_SECONDS:
                self._end(signal.SIGTERM, for_failure=True)
        elif self._timeout is not None and now > self._timeout:
            self._timed_out = True
            self._on_notice(f"the run exceeds its {self._timeout:g} seconds: ending {ranks(w.rank for w in running)}")
            self._end(signal.SIGTERM)
        elif (asked := [exit.ended_at for exit in exits if exit.restarts]) and now - min(asked) > RESTART_SECONDS:
            self._end(signal.SIGTERM)
        elif exits and not self._warned and now - max(exit.ended_at for exit in exits) > self._patience:
            self._warned = True
            ended = ranks(exit.rank for exit in exits)
            still = ranks(worker.rank for worker in running)
            self._on_notice(f"{still} still running {self._patience:g} seconds after {ended} ended well")

    def _end(self, number: int, *, for_failure: bool = False) -> None:
        self._ending = _Ending(self._now(), number, for_failure)

    def _may_wind_up(self, worker: Worker, ending: _Ending, now: float) -> bool:
        """Whether a worker that seems to fail as well is left alone, so that it is seen how it ends."""
        return ending.for_failure and worker.holds_traceback() and now - ending.at < WIND_UP_SECONDS

    def _let_go(self, worker: Worker) -> None:
        for pipe in worker.pipes:
            if not pipe.ended:
                self._selector.unregister(pipe)
        self._show(worker.finish(self._now()))
        self._guard.dismiss(worker.pid)

    def _running(self) -> list[Worker]:
        return [worker for worker in self._workers if not worker.gone]

    def _show(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._on_line(line)

    def _now(self) -> float:
        return time.monotonic() - self._started


def first_failure(exits: Iterable[WorkerExit]) -> WorkerExit | None:
    """Which worker's failure is the cause of the others'.

    The first that failed by itself, unless all it tells is that it lost its connection: then another one went before,
    which is seen later where that one takes its time to end, and may even have to be stopped.
    """

    def suspicion(exit: WorkerExit) -> tuple[bool, bool, float]:
        return exit.lost_connection, exit.stopped, exit.failed_at or 0.0

    failed = [exit for exit in exits if exit.failed_at is not None]
    return None if all(exit.stopped for exit in failed) else min(failed, key=suspicion)
