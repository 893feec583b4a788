"""Starts N workers on this host and stays with them until the last is gone. Every verb that needs workers uses this.

One thread supervises all of them and installs no signal handlers, so that a run may take place in any thread, and
several at once.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hora.errors import HoraError
from hora.launch.environment import host_environment, reserved_port
from hora.launch.generation import Meeting, run_generation
from hora.launch.hosts import LOCAL, Host, Place, places
from hora.launch.job import Job, ignore, to_stderr
from hora.launch.process import Starter, execute
from hora.launch.result import Line, RunResult
from hora.launch.stop import Stop


def run(
    command: Sequence[str],
    workers: int,
    *,
    env: Mapping[str, str] | None = None,
    worker_env: Callable[[int], Mapping[str, str]] | None = None,
    cwd: Path | None = None,
    on_line: Callable[[Line], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
    timeout: float | None = None,
    grace: float = 5.0,
    stop: Stop | None = None,
    start: Starter = execute,
) -> RunResult:
    """Run a command as N workers on this host, and wait for all of them.

    The first worker that fails ends the run: the others get SIGTERM and, `grace` seconds later, SIGKILL, their children
    with them. An exception in the calling thread (Ctrl-C where no handler is installed, an error in `on_line`) does the
    same before it goes on; the death of this process kills the workers.

    Parameters
    ----------
    command
        What each worker executes.
    workers
        How many.
    env
        Variables for all workers, laid over this process's own and the launcher's.
    worker_env
        Variables for the worker of the given rank, laid over these.
    cwd
        Where the workers start, by default here.
    on_line
        Called in this thread with each line as it comes, save the traceback that a worker fails with: the result holds
        it. By default the lines go nowhere.
    on_notice
        Called with what the launcher itself has to say while the run goes on; by default this goes to stderr.
    timeout
        Seconds after which the run is ended.
    grace
        Seconds that a worker has to end after it was asked to.
    stop
        A request to end that somebody else may make.
    start
        How a worker's process is started; a `hora.launch.zygote.Zygote` forks it.

    Returns
    -------
    RunResult
        How each worker ended, and which one's failure is the cause.

    Raises
    ------
    HoraError
        `workers` is less than 1, or the command cannot be executed.
    """
    job = Job(
        command,
        env or {},
        worker_env or (lambda rank: {}),
        cwd,
        on_line or ignore,
        on_notice or to_stderr,
        timeout,
        grace,
        stop or Stop(),
    )
    return run_generation(OneHost(start), places([Host(LOCAL, workers)], workers), job)


class OneHost:
    """The host that this process runs on, as a `hora.launch.generation.Site`.

    Parameters
    ----------
    start
        How a worker's process is started.
    """

    def __init__(self, start: Starter = execute) -> None:
        self._start = start

    def reach(self, hosts: Sequence[Host]) -> Mapping[str, HoraError]:
        """Return nothing: it is here."""
        return {}

    @contextmanager
    def meeting(self, places: Sequence[Place]) -> Iterator[Meeting]:
        """Find where these workers can meet, and keep the port for them."""
        with reserved_port() as port:
            yield Meeting("127.0.0.1", port, {LOCAL: "lo"} if sys.platform == "linux" else {})

    def starter(self, host: Host) -> Starter:
        """Return what starts a worker."""
        return self._start

    def environment(self) -> dict[str, str]:
        """Return this process's environment."""
        return {**os.environ}

    def host_environment(self, place: Place, env: Mapping[str, str]) -> Mapping[str, str]:
        """Return what this host adds."""
        return host_environment(place.local_size, env)

    def touch(self, host: Host, path: str) -> None:
        """Make an empty file."""
        Path(path).touch()

    def remove(self, path: str) -> None:
        """Remove a directory."""
        shutil.rmtree(path, ignore_errors=True)

    def write(self, host: Host, path: Path, data: bytes) -> None:
        """Write a file, and make its directory."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(data)

    def read(self, host: Host, path: Path) -> bytes | None:
        """Read a file; None where there is none."""
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def lost(self, hosts: Sequence[Host]) -> bool:
        """Return False: it is here."""
        return False
