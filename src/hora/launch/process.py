"""What the launcher needs of a worker's process, and the usual way to start one: execute a command."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from hora.launch.guard import Guard


class Process(Protocol):
    """A process that leads a session of its own; `subprocess.Popen` is one."""

    pid: int

    @property
    def returncode(self) -> int | None:
        """Its exit status, the negative signal that ended it, or None as far as known."""

    def poll(self) -> int | None:
        """Look whether it has ended."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; raises `subprocess.TimeoutExpired`."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal to it alone."""


class Starter(Protocol):
    """Starts a process: on the guard's list, with an empty standard input, in a session of its own."""

    def __call__(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path | None, guard: Guard, out: int, err: int
    ) -> Process:
        """Start `command` with the whole environment `env` in `cwd`; `out` and `err` are where it writes.

        Raises
        ------
        OSError
            There is no such command or directory.
        """


def execute(
    command: Sequence[str], env: Mapping[str, str], cwd: Path | None, guard: Guard, out: int, err: int
) -> Process:
    """Execute a command, as a `Starter`."""
    if shutil.which(command[0], path=env.get("PATH")) is None and not Path(cwd or ".", command[0]).is_file():
        raise FileNotFoundError(errno.ENOENT, "no such command", command[0])
    # A session of its own: Ctrl-C in the terminal reaches the launcher alone, and one signal the whole group.
    return subprocess.Popen(
        guard.enlist(command, env),
        env=env,
        cwd=cwd,
        stdin=guard.pipe,
        stdout=out,
        stderr=err,
        start_new_session=True,
    )
