"""What is run, the same in each generation: the command, what it finds around it, and who hears of it."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hora.launch.result import Line
from hora.launch.stop import Stop

if TYPE_CHECKING:
    from hora.launch.generation import Site
    from hora.launch.hosts import Place
    from hora.launch.watch import Watch


def ignore(_: object) -> None:
    """Take what nobody wants to hear."""


def to_stderr(notice: str) -> None:
    """Print what the launcher has to say."""
    print(notice, file=sys.stderr)


class Errand(Protocol):
    """What is carried to the hosts of a job's workers, and back: generation after generation.

    The workers find the directory in the variable HORA_ERRAND.
    """

    def bring(self, site: Site, places: Sequence[Place], directory: Path) -> None:
        """Write what the workers need into a directory of each of their hosts, before they start."""

    def fetch(self, site: Site, places: Sequence[Place], directory: Path) -> None:
        """Read what they left there, after all of them have ended well."""


@dataclass(frozen=True)
class Job:
    """A job.

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
    watch
        What looks after the workers while they run.
    errand
        What is carried to their hosts and back; such a job has a directory of its own, HORA_RUN_DIR.
    secret
        What the workers sign with what they send each other pickled.
    """

    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    worker_env: Callable[[int], Mapping[str, str]] = lambda rank: {}
    cwd: Path | None = None
    on_line: Callable[[Line], None] = ignore
    on_notice: Callable[[str], None] = to_stderr
    timeout: float | None = None
    grace: float = 5.0
    stop: Stop = field(default_factory=Stop)
    on_tick: Callable[[], None] = lambda: None
    watch: Watch | None = None
    errand: Errand | None = None
    secret: str = field(default_factory=lambda: secrets.token_hex(32))
