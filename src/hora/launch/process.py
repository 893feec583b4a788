"""What the launcher needs of a worker's process, and the usual way to start one: execute a command."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from hora.launch import heartbeats, stacks
from hora.launch.guard import Guard
from hora.launch.memory import OutOfMemory


class Process(Protocol):
    """A process that leads a session of its own, on whichever host.

    Attributes
    ----------
    pid
        Its number on its host, and that of the process group that it leads.
    lost
        Why it will never be known how it ended, such as a host that gives no sign of life; None as a rule.
    """

    pid: int
    lost: str | None

    @property
    def returncode(self) -> int | None:
        """Its exit status, the negative signal that ended it, or None as far as known."""

    def poll(self) -> int | None:
        """Look whether it has ended."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; raises `subprocess.TimeoutExpired`."""

    def begin(self) -> None:
        """Let what it writes come: somebody reads it from now on."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal to it alone."""

    def sweep(self, number: int) -> None:
        """Send a signal to it and all its children."""

    def group_is_alive(self) -> bool:
        """Whether it or one of its children is still there."""

    def heartbeat(self) -> bytes:
        """Return the last heartbeat that it wrote, empty if it has written none."""

    def state(self) -> str:
        """Return the letter that Linux has for its state, such as "R" or "T", as far as known."""

    def stacks(self) -> str:
        """Return the stacks of its threads, or why they cannot be had; takes some seconds at most."""

    def why_killed(self, memory: OutOfMemory) -> str | None:
        """Say why SIGKILL ended it, as far as known; `memory` tells it of a process of this host."""


class GroupLeader:
    """What can be done with a process of this host that leads a process group."""

    pid: int
    lost: str | None = None
    heartbeat_file: Path | None = None

    def begin(self) -> None:
        """Do nothing: what it writes waits in its pipes."""

    def heartbeat(self) -> bytes:
        """Return the last heartbeat that it wrote, empty if it has written none."""
        try:
            return b"" if self.heartbeat_file is None else self.heartbeat_file.read_bytes()[: heartbeats.LARGEST]
        except OSError:
            return b""

    def state(self) -> str:
        """Return the letter that Linux has for its state."""
        return stacks.process_state(self.pid)

    def stacks(self) -> str:
        """Return the stacks of its threads, or why they cannot be had."""
        beat = heartbeats.read(self.heartbeat())
        return stacks.take(self.pid, beat.stacks if beat else None)

    def why_killed(self, memory: OutOfMemory) -> str | None:
        """Say why SIGKILL ended it, as far as known."""
        return memory.explain()

    def sweep(self, number: int) -> None:
        """Send a signal to it and all its children."""
        # macOS answers EPERM where only a zombie is left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def group_is_alive(self) -> bool:
        """Whether it or one of its children is still there."""
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return not sys.platform.startswith("linux") or any(map(self._is_in_group, Path("/proc").glob("[0-9]*/stat")))

    def _is_in_group(self, stat: Path) -> bool:
        """Whether a process is of this group and not a zombie, which the system may keep for as long as it likes."""
        try:
            state, _parent, group = stat.read_bytes().rpartition(b")")[2].split(maxsplit=3)[:3]
        except OSError:  # it has just ended
            return False
        return int(group) == self.pid and state != b"Z"


class Executed(GroupLeader, subprocess.Popen[bytes]):
    """A command that this process executes on this host."""


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
) -> Executed:
    """Execute a command, as a `Starter`."""
    if shutil.which(command[0], path=env.get("PATH")) is None and not Path(cwd or ".", command[0]).is_file():
        raise FileNotFoundError(errno.ENOENT, "no such command", command[0])
    # A session of its own: Ctrl-C in the terminal reaches the launcher alone, and one signal the whole group.
    executed = Executed(
        guard.enlist(command, env),
        env=env,
        cwd=cwd,
        stdin=guard.pipe,
        stdout=out,
        stderr=err,
        start_new_session=True,
    )
    if env.get("HORA_HEARTBEAT"):
        executed.heartbeat_file = Path(env["HORA_HEARTBEAT"])
    return executed
