"""Where a job shall run and with how many workers, as the command line asks, and the site that this comes to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hora.errors import HoraError
from hora.launch.cluster import Cluster
from hora.launch.discovery import Discovery, Fixed, Script
from hora.launch.elastic import Bounds, Generations
from hora.launch.generation import Site, run_generation
from hora.launch.hosts import LOCAL, Host, parse_hosts, places, read_hostfile
from hora.launch.job import Job
from hora.launch.launcher import Launcher
from hora.launch.local import OneHost
from hora.launch.result import RunResult
from hora.launch.ssh import Ssh


@dataclass(frozen=True)
class Request:
    """What is asked of the hosts. Without any of it: one worker on this host.

    Attributes
    ----------
    workers
        How many; by default as many as the hosts have slots.
    hosts, hostfile, discovery_script
        The hosts, at most one of the three: as ``a:4,b:4``, a file of them, a script that prints them.
    slots_per_host
        How many workers a host takes for which the script does not say it.
    interface
        The network interface to use on each host.
    ssh_port, ssh_identity
        How to log in, where ssh's own configuration does not say it.
    start_timeout
        Seconds until each host must have answered.
    least, most
        The bounds of an elastic job; one without them is not elastic.
    resets, patience, cooldown
        As in `hora.launch.elastic.Bounds`.
    """

    workers: int | None = None
    hosts: str | None = None
    hostfile: Path | None = None
    discovery_script: Path | None = None
    slots_per_host: int = 1
    interface: str | None = None
    ssh_port: int | None = None
    ssh_identity: Path | None = None
    start_timeout: float = 30.0
    least: int | None = None
    most: int | None = None
    resets: int | None = None
    patience: float = 600.0
    cooldown: float = 30.0

    @property
    def is_elastic(self) -> bool:
        """Whether failures and a change of hosts lead to a new generation."""
        return self.least is not None or self.most is not None or self.discovery_script is not None


@dataclass(frozen=True)
class Stage:
    """What a request comes to.

    Attributes
    ----------
    site
        The hosts' agents, or this host.
    discovery
        Which hosts there are.
    workers
        How many workers an ordinary job has.
    bounds
        Those of an elastic job, else None.
    """

    site: Site
    discovery: Discovery
    workers: int
    bounds: Bounds | None

    @property
    def hosts(self) -> Sequence[Host]:
        """The hosts that there are now."""
        return self.discovery.hosts()

    def run(self, job: Job, on_result: Callable[[RunResult], None]) -> RunResult:
        """Run a job to its end.

        Parameters
        ----------
        job
            What is run.
        on_result
            Called with the result of each generation that is not the last.

        Raises
        ------
        HoraError
            The command cannot be executed, or there were too few hosts for too long.
        """
        with TemporaryDirectory(prefix="hora-") as run_dir:
            job = replace(job, env={"HORA_RUN_DIR": run_dir, **job.env})
            if self.bounds is None:
                return run_generation(self.site, places(self.hosts, self.workers), job)
            commits = f"/dev/shm/hora-{os.getuid()}-{job.env['HORA_JOB']}"
            job = replace(job, env={"HORA_COMMIT_DIR": commits, **job.env})
            try:
                return Generations(self.site, self.discovery, job, self.bounds, Path(run_dir), on_result).run()
            finally:  # what the workers committed to memory
                self.site.remove(commits)


@contextmanager
def stage(request: Request, paths: Sequence[Path], on_notice: Callable[[str], None]) -> Iterator[Stage]:
    """Reach the hosts of a request, and see that the job can run there.

    Parameters
    ----------
    request
        What is asked.
    paths
        Files and directories that must be there on each host.
    on_notice
        Called with what there is to say.

    Raises
    ------
    HoraError
        The request contradicts itself, or a host of a job that is not elastic cannot be used.
    """
    with ExitStack() as stack:
        discovery = discovery_of(request, stack)
        slots = sum(host.slots for host in discovery.hosts())
        bounds = _bounds(request, slots) if request.is_elastic else None
        workers = slots if request.workers is None else request.workers
        if request.discovery_script is None and all(host.is_here for host in discovery.hosts()):
            yield Stage(OneHost(), Fixed([Host(LOCAL, slots)]), workers, bounds)
            return
        cluster = stack.enter_context(
            Cluster(
                launcher_of(request),
                paths=paths,
                interface=request.interface,
                on_notice=on_notice,
                start_timeout=request.start_timeout,
            )
        )
        if bounds is None:
            for error in cluster.reach(discovery.hosts()).values():
                raise error
        yield Stage(cluster, discovery, workers, bounds)


def launcher_of(request: Request) -> Launcher:
    """Return what starts agents on the hosts of a request."""
    return Ssh(request.ssh_port, request.ssh_identity, request.start_timeout)


def discovery_of(request: Request, stack: ExitStack) -> Discovery:
    """Return what tells the hosts of a request.

    Raises
    ------
    HoraError
        The request names them in two ways, or in one that cannot be read.
    """
    given = [name for name in ("hosts", "hostfile", "discovery_script") if getattr(request, name) is not None]
    if len(given) > 1:
        raise HoraError("run", "more than one of -H, --hostfile and --host-discovery-script", "Give one of them.")
    if request.discovery_script is not None:
        return stack.enter_context(Script(request.discovery_script, request.slots_per_host))
    if request.hostfile is not None:
        return Fixed(read_hostfile(request.hostfile))
    if request.hosts is not None:
        return Fixed(parse_hosts(request.hosts))
    return Fixed([Host(LOCAL, max(1, request.most or 1, request.workers or 1))])


def _bounds(request: Request, slots: int) -> Bounds:
    most = request.most or request.workers or (slots if request.discovery_script is None else request.least or slots)
    least = request.least or request.workers or 1
    if not 1 <= least <= most:
        raise HoraError(
            "run", f"at least {least} and at most {most} workers", "Give a --min-np of 1 or more and a --max-np above."
        )
    return Bounds(least, most, request.resets, request.patience, request.cooldown)
