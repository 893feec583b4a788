"""Generations of an elastic job: starts the workers anew after a failure, or when the hosts have changed.

What a worker has committed outlives its process on its host (`hora.torch.elastic`); here it is only decided who starts
when and where, and when to give up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hora.errors import HoraError
from hora.launch.discovery import Discovery
from hora.launch.generation import Site, run_generation
from hora.launch.hosts import Host, places
from hora.launch.job import Job
from hora.launch.result import RunResult, WorkerExit, signal_name

SAME_FAILURES = 3
"""A worker that fails by the same exception in so many generations in a row has a defect that no start mends."""

_PAUSE = 0.2


@dataclass(frozen=True)
class Bounds:
    """How many workers an elastic job may have, and how often it may start anew.

    Attributes
    ----------
    least, most
        How many workers at least and at most.
    resets
        After how many new generations the job is given up; None for never.
    patience
        Seconds to wait for enough slots.
    cooldown
        Seconds for which a host that was lost is not used again.
    """

    least: int
    most: int
    resets: int | None = None
    patience: float = 600.0
    cooldown: float = 30.0


@dataclass
class Generations:
    """Runs an elastic job to its end.

    Attributes
    ----------
    site
        The hosts' agents, or this host.
    discovery
        Which hosts there are now.
    job
        What is run.
    bounds
        How many workers, how often.
    run_dir
        A directory of the job, on every host.
    on_result
        Called with the result of each generation that is not the last.
    """

    site: Site
    discovery: Discovery
    job: Job
    bounds: Bounds
    run_dir: Path
    on_result: Callable[[RunResult], None]
    _lost_at: dict[str, float] = field(default_factory=dict)
    _unreachable: dict[str, str] = field(default_factory=dict)

    def run(self) -> RunResult:
        """Start generation after generation; return the result of the last.

        Raises
        ------
        HoraError
            There were too few slots for too long.
        """
        generation, failures = 0, list[str]()
        while True:
            hosts = self._enough_hosts(generation)
            try:
                result = self._one(generation, hosts)
            except HoraError as error:
                if self.job.stop.signal is not None or not self.site.lost(hosts):
                    raise
                self.job.on_notice(str(error))  # it went while the workers were about to start
                continue
            if result.stopped_by is not None or result.timed_out or (result.status == 0 and not result.restarts):
                return result
            cause = result.first_failure
            failures = [] if cause is None else [*failures, _failure(cause)][-SAME_FAILURES:]
            if len(failures) == SAME_FAILURES and len(set(failures)) == 1 and failures[0]:
                self.job.on_notice(f"the same failure in {SAME_FAILURES} generations: starting anew does not mend it")
                return result
            if self.bounds.resets is not None and generation >= self.bounds.resets:
                self.job.on_notice(f"{generation} resets were made, as many as --reset-limit allows")
                return result
            self.on_result(result)
            generation += 1
            if self.job.stop.signal is not None:  # between two generations
                return replace(result, stopped_by=self.job.stop.signal)

    def _one(self, generation: int, hosts: Sequence[Host]) -> RunResult:
        """Run one generation; tell its workers when the hosts have changed."""
        workers = min(self.bounds.most, sum(host.slots for host in hosts))
        placed = places(hosts, workers)
        used = list(dict.fromkeys(place.host for place in placed))
        flag = str(self.run_dir / f"hosts-updated-{generation}")
        told = False

        def look() -> None:
            nonlocal told
            self.job.on_tick()
            if not told and self._differs(used, workers):
                told = True
                self.job.on_notice("the hosts have changed: the workers start anew after their next commit")
                for host in used:
                    self.site.touch(host, flag)

        env = {
            "HORA_ELASTIC": "1",
            "HORA_HOSTS_UPDATED": flag,
            "TORCHELASTIC_RESTART_COUNT": str(generation),
            "TORCHELASTIC_MAX_RESTARTS": str(self.bounds.resets or 0),
        }
        if generation:
            names = ", ".join(f"{host.name}:{sum(place.host == host for place in placed)}" for host in used)
            self.job.on_notice(f"generation {generation}: {workers} workers on {names}")
        result = run_generation(self.site, placed, replace(self.job, on_tick=look), env, elastic=True)
        for exit in result.exits:
            if exit.lost is not None:
                self._lost_at[placed[exit.rank].host.name] = time.monotonic()
        return result

    def _enough_hosts(self, generation: int) -> list[Host]:
        """Wait until there are hosts for the least number of workers, all of them reached."""
        end = time.monotonic() + self.bounds.patience
        waited = False
        while True:
            hosts = self._usable(self.discovery.hosts())
            refused = self.site.reach(hosts)
            for name, error in refused.items():
                self._lost_at[name] = time.monotonic()
                if self._unreachable.get(name) != str(error):
                    self._unreachable[name] = str(error)
                    self.job.on_notice(str(error))
            hosts = [host for host in hosts if host.name not in refused]
            slots = sum(host.slots for host in hosts)
            if slots >= self.bounds.least:
                return hosts
            if generation == 0 and refused:
                raise next(iter(refused.values()))
            if (number := self.job.stop.signal) is not None:
                raise HoraError(
                    f"run at least {self.bounds.least} workers",
                    f"{signal_name(number)} came while there were slots for {slots}",
                    "Nothing was running.",
                    status=128 + number,
                )
            if time.monotonic() > end:
                trouble = f" ({self.discovery.trouble})" if self.discovery.trouble else ""
                raise HoraError(
                    f"run at least {self.bounds.least} workers",
                    f"for {self.bounds.patience:g} s there were slots for {slots}{trouble}",
                    "Bring hosts back, or ask for a smaller --min-np; --elastic-timeout says how long to wait.",
                    status=3,
                )
            if not waited:
                waited = True
                self.job.on_notice(f"waiting for hosts: {slots} slots, {self.bounds.least} workers at least")
            time.sleep(_PAUSE)

    def _usable(self, hosts: Sequence[Host]) -> list[Host]:
        """Return those that were not lost a short while ago."""
        now = time.monotonic()
        return [host for host in hosts if now - self._lost_at.get(host.name, -1e9) > self.bounds.cooldown]

    def _differs(self, used: Sequence[Host], workers: int) -> bool:
        """Whether a new generation would have other workers: more, or none where a host has been withdrawn."""
        hosts = self._usable(self.discovery.hosts())
        slots = sum(host.slots for host in hosts)
        if slots < self.bounds.least:
            return False  # there is nothing better to change to
        there = {host.name: host.slots for host in hosts}
        return min(self.bounds.most, slots) != workers or any(host.name not in there for host in used)


def _failure(cause: WorkerExit) -> str:
    """Name a failure so that the same one is known again; empty where only chance tells it from another."""
    if cause.traceback is None or cause.lost_connection:
        return ""
    return cause.error or ""
