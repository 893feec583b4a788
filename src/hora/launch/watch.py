"""Watches over the workers while they run: says which one the others wait for, which is frozen, and which is slow.

It goes by what all workers tell of themselves (`hora.torch.heartbeat`), so that also those are named that cannot tell.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hora.launch import stacks
from hora.launch.environment import seconds
from hora.launch.stalls import Stall, find_stall
from hora.launch.vitals import SILENT_SECONDS, Vital, Vitals
from hora.launch.worker import Worker

SLOW = 1.5
"""A worker whose own computation takes so many times the others' median is said to be slow."""


OWN_SECONDS = 5.0
"""How much longer a stall may take to be ended by the workers themselves, as `hora.torch` ends an operation by name."""


@dataclass(frozen=True)
class Patience:
    """How long workers may wait for each other.

    Attributes
    ----------
    told
        Seconds until it is said for whom; 0 for never. It is said again after twice the time, and so on.
    ended
        Seconds until the worker that the others wait for is killed, `OWN_SECONDS` later; 0 for never.
    """

    told: float = 60.0
    ended: float = 0.0


def patience(env: Mapping[str, str]) -> Patience:
    """Read HORA_STALL_SECONDS and HORA_STALL_SHUTDOWN_SECONDS, or what Horovod calls them, as the workers will.

    Raises
    ------
    HoraError
        One of them is no number.
    """
    if env.get("HOROVOD_STALL_CHECK_DISABLE", "0") not in ("", "0"):
        return Patience(0.0, 0.0)
    told = seconds("HORA_STALL_SECONDS", seconds("HOROVOD_STALL_CHECK_TIME_SECONDS", Patience.told, env), env)
    ended = seconds("HOROVOD_STALL_SHUTDOWN_TIME_SECONDS", Patience.ended, env)
    ended = seconds("HORA_STALL_SHUTDOWN_SECONDS", ended, env)
    return Patience(told, ended)


@dataclass(frozen=True)
class _Taking:
    """Stacks that were asked for: why, of which workers, and of which stall they shall show the cause."""

    text: str
    workers: Sequence[Worker]
    stacks: Sequence[Future[str]]
    stall: Stall | None


class Watch:
    """Looks at the workers of a job, generation after generation.

    Parameters
    ----------
    patience
        How long workers may wait for each other.
    on_notice
        Called with what there is to say.
    on_vitals
        Called with all workers' signs of life, twice a second.
    directory
        Where the stacks of all workers are written to.
    """

    def __init__(
        self,
        patience: Patience,
        on_notice: Callable[[str], None],
        on_vitals: Callable[[Sequence[Vital]], None],
        directory: Path,
    ) -> None:
        self._patience, self._on_notice, self._on_vitals = patience, on_notice, on_vitals
        self._directory = directory
        self._vitals = Vitals()
        self._last: Sequence[Vital] = ()
        self._pool = ThreadPoolExecutor(32, "stacks")
        self._asked = False
        self._taking: _Taking | None = None
        self._taken = 0
        self._tell_at = patience.told
        self._silent: set[int] = set()
        self._slow: set[int] = set()

    def ask_for_stacks(self) -> None:
        """Have the stacks of all workers printed: may be called by a signal handler."""
        self._asked = True

    @property
    def steps(self) -> Mapping[int, int]:
        """How many steps each worker had made when it was last looked at, by rank."""
        return {vital.rank: vital.beat.steps for vital in self._last if vital.beat}

    def look(self, workers: Sequence[Worker]) -> None:
        """Look at the workers, if it is time to; say what is to be said, and kill the one that stalls the others."""
        self._finish_stacks()
        vitals = self._vitals.look(workers)
        if vitals is None:
            return
        self._last = vitals
        self._on_vitals(vitals)
        if self._asked and self._taking is None:
            self._asked = False
            self._take_stacks(workers, "what the workers do, by their main threads", None)
        self._look_for_silence(vitals)
        self._look_for_slowness(vitals)
        stall = find_stall(vitals)
        if stall is None or not self._patience.told or stall.seconds < self._patience.told:
            self._tell_at = self._patience.told
        elif stall.seconds >= self._tell_at and self._taking is None:
            self._tell_at = max(2 * self._tell_at, stall.seconds)
            self._take_stacks(workers, stall.text, stall)
        if stall is not None and 0 < self._patience.ended <= stall.seconds - OWN_SECONDS:
            blamed = workers[stall.blamed]
            blamed.condemn(f"killed, as the others had waited for {stall.seconds:.0f} s")

    def over(self) -> None:
        """Say what is still to be said when a generation has ended."""
        self._finish_stacks(last=True)
        self._vitals = Vitals()
        self._silent.clear()
        self._slow.clear()
        self._tell_at = self._patience.told

    def _look_for_silence(self, vitals: Sequence[Vital]) -> None:
        """Say once which process is frozen, or gives no sign of life, and when it is back."""
        for vital in vitals:
            if vital.beat is None or vital.ended or (vital.beat.ending and not vital.frozen):
                continue
            if vital.silent > SILENT_SECONDS and vital.rank not in self._silent:
                self._silent.add(vital.rank)
                why = "is stopped (SIGSTOP or a debugger)" if vital.frozen else "gives no sign of life"
                self._on_notice(f"{vital.who} {why}: no heartbeat for {vital.silent:.0f} s")
            elif vital.silent < 2.0 and vital.rank in self._silent:
                self._silent.discard(vital.rank)
                self._on_notice(f"{vital.who} is back")

    def _look_for_slowness(self, vitals: Sequence[Vital]) -> None:
        """Say once which worker computes longer than the others, which wait for it."""
        times = {v.rank: v.beat.step_seconds for v in vitals if v.beat and v.beat.step_seconds and not v.ended}
        for vital in vitals:
            others = [seconds for rank, seconds in times.items() if rank != vital.rank]
            own = times.get(vital.rank)
            if own is None or not others or vital.rank in self._slow:
                continue
            usual = statistics.median(others)
            if own > SLOW * usual and own - usual > 0.005:
                self._slow.add(vital.rank)
                self._on_notice(
                    f"{vital.who} computes {own / usual:.1f} times as long per step as the others "
                    f"({own:.3g} s, their median {usual:.3g} s): they wait for it"
                )

    def _take_stacks(self, workers: Sequence[Worker], text: str, stall: Stall | None) -> None:
        running = [worker for worker in workers if worker.ended_at is None]
        self._taking = _Taking(text, running, [self._pool.submit(worker.stacks) for worker in running], stall)

    def _finish_stacks(self, *, last: bool = False) -> None:
        """Write the stacks that were asked for, once they are there, and say what they show."""
        taking = self._taking
        if taking is None or not (last or all(future.done() for future in taking.stacks)):
            return
        self._taking = None
        self._taken += 1
        told = [
            (worker, future.result() if future.done() else "(no stacks: the job has ended)\n")
            for worker, future in zip(taking.workers, taking.stacks, strict=True)
        ]
        path = self._directory / f"stacks-{self._taken}.txt"
        whole = "\n".join(f"{worker.who}\n{said}" for worker, said in told)
        try:
            path.write_text(whole)
            where = f"stacks of all workers: {path}"
        except OSError as error:
            where = f"the stacks are not written to {path}: {error.strerror}"
        if taking.stall is None:
            short = "\n".join(f"{worker.who}\n{stacks.main_thread(said)}" for worker, said in told)
            self._on_notice(f"{taking.text}\n{short}{where}")
            return
        of_missing = [(worker, said) for worker, said in told if worker.rank in taking.stall.missing]
        places = [f"{worker.who} is at {at}" for worker, said in of_missing if (at := stacks.place(said))]
        self._on_notice("\n  ".join([taking.text, *places, where]))
