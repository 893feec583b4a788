"""One start of all workers of a job, wherever they run, until the last is gone. An elastic job has several."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hora.launch.environment import worker_environment
from hora.launch.guard import Guard
from hora.launch.hosts import Host, Place
from hora.launch.process import Starter
from hora.launch.result import Line, RunResult
from hora.launch.stop import Stop
from hora.launch.supervision import Supervision, ignore


@dataclass(frozen=True)
class Meeting:
    """Where the workers of a generation meet.

    Attributes
    ----------
    address, port
        Where worker 0 will listen.
    interfaces
        By a host's name, its network interface that leads to the others, as far as known.
    """

    address: str
    port: int
    interfaces: Mapping[str, str | None]


class Site(Protocol):
    """The hosts that a job can use: this one alone (`hora.launch.local`), or several (`hora.launch.cluster`)."""

    def meeting(self, places: Sequence[Place]) -> AbstractContextManager[Meeting]:
        """Find where these workers can meet, and keep the port for them."""

    def starter(self, host: Host) -> Starter:
        """Return what starts a worker on a host."""

    def environment(self) -> dict[str, str]:
        """Return what of this process's environment a worker gets."""

    def host_environment(self, place: Place, env: Mapping[str, str]) -> Mapping[str, str]:
        """Return what the worker's host adds, as far as this process knows it."""

    def touch(self, host: Host, path: str) -> None:
        """Make an empty file on a host."""


@dataclass(frozen=True)
class Job:
    """What is run, the same in each generation.

    Attributes
    ----------
    command
        What each worker executes.
    env
        Variables for all workers, laid over this process's own and the launcher's.
    worker_env
        Variables for the worker of a given rank, laid over these.
    cwd
        Where the workers start.
    on_line, on_notice
        Called with each line of a worker, and with what the launcher has to say.
    timeout
        Seconds after which a generation is ended.
    grace
        Seconds that a worker has to end after it was asked to.
    stop
        A request to end that somebody else may make.
    on_tick
        Called several times a second while the workers run.
    secret
        What the workers sign with what they send each other pickled.
    """

    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    worker_env: Callable[[int], Mapping[str, str]] = lambda rank: {}
    cwd: Path | None = None
    on_line: Callable[[Line], None] = ignore
    on_notice: Callable[[str], None] = lambda notice: print(notice, file=sys.stderr)
    timeout: float | None = None
    grace: float = 5.0
    stop: Stop = field(default_factory=Stop)
    on_tick: Callable[[], None] = lambda: None
    secret: str = field(default_factory=lambda: secrets.token_hex(32))


def run_generation(
    site: Site, places: Sequence[Place], job: Job, env: Mapping[str, str] | None = None, *, elastic: bool = False
) -> RunResult:
    """Start a worker at each place and stay with them until the last is gone.

    Parameters
    ----------
    site
        The hosts.
    places
        Of the workers, by rank.
    job
        What they run.
    env
        Variables of this generation, laid over the launcher's.
    elastic
        A worker may ask for a new generation by its exit status, `hora.launch.result.RESTART`.

    Raises
    ------
    HoraError
        The command cannot be executed, or a host is out of reach.
    """
    inherited = site.environment()
    # From a torchrun around this one; worker 0 would not listen.
    inherited.pop("TORCHELASTIC_USE_AGENT_STORE", None)
    with (
        site.meeting(places) as meeting,
        Guard() as guard,
        Supervision(
            guard, job.on_line, job.on_notice, job.timeout, job.grace, job.stop, job.on_tick, elastic
        ) as supervision,
    ):
        for place in places:
            interface = inherited.get("GLOO_SOCKET_IFNAME") or meeting.interfaces.get(place.host.name)
            own = worker_environment(place, meeting.address, meeting.port, interface)
            variables = {**inherited, "HORA_SECRET": job.secret, **own}
            variables.update(site.host_environment(place, variables))
            variables.update({**(env or {}), **job.env, **job.worker_env(place.rank)})
            host = place.host.name if place.hosts > 1 else None
            supervision.start(job.command, variables, job.cwd, site.starter(place.host), host)
        return supervision.see_through()
