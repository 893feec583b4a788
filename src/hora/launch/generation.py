"""One start of all workers of a job, wherever they run, until the last is gone. An elastic job has several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hora.errors import HoraError
from hora.launch.environment import worker_environment
from hora.launch.guard import Guard
from hora.launch.hosts import Host, Place
from hora.launch.job import Job
from hora.launch.process import Starter
from hora.launch.result import RunResult
from hora.launch.supervision import Supervision


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

    def reach(self, hosts: Sequence[Host]) -> Mapping[str, HoraError]:
        """Connect to those of some hosts that are new or were lost; return by their names why some cannot be used."""

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

    def remove(self, path: str) -> None:
        """Remove a directory on every host that is still reached."""

    def write(self, host: Host, path: Path, data: bytes) -> None:
        """Write a file on a host, and make its directory; raises HoraError where that is not possible."""

    def read(self, host: Host, path: Path) -> bytes | None:
        """Read a file of a host; None where there is none, HoraError where it cannot be read."""

    def lost(self, hosts: Sequence[Host]) -> bool:
        """Whether one of these hosts has been lost since it was reached."""


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
        Supervision(guard, job, elastic=elastic) as supervision,
    ):
        start = (env or {}).get("TORCHELASTIC_RESTART_COUNT", "0")
        run_dir = job.env.get("HORA_RUN_DIR")
        errand = None if job.errand is None or run_dir is None else Path(run_dir) / f"errand-{start}"
        if job.errand is not None and errand is not None:
            job.errand.bring(site, places, errand)
        for place in places:
            interface = inherited.get("GLOO_SOCKET_IFNAME") or meeting.interfaces.get(place.host.name)
            own = worker_environment(place, meeting.address, meeting.port, interface)
            variables = {**inherited, "HORA_SECRET": job.secret, **own}
            variables.update(site.host_environment(place, variables))
            variables.update({**(env or {}), **job.env, **job.worker_env(place.rank)})
            if run_dir is not None:
                variables["HORA_HEARTBEAT"] = f"{run_dir}/heartbeat-{start}-{place.rank}"
            if errand is not None:
                variables["HORA_ERRAND"] = str(errand)
            host = place.host.name if place.hosts > 1 else None
            supervision.start(job.command, variables, job.cwd, site.starter(place.host), host)
        result = supervision.see_through()
        if job.errand is not None and errand is not None and result.status == 0 and not result.restarts:
            job.errand.fetch(site, places, errand)
        return result
