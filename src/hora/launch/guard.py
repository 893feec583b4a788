"""Ends the workers when the launcher itself dies without a word (SIGKILL, out of memory): nobody else would.

A shell waits at the end of a pipe. Each worker writes the number of its process group into it before it becomes what it
is to be; the launcher's death, however sudden, closes the pipe, and the shell kills the groups that are still listed. A
parent-death signal would not reach the workers' own children, such as loader workers, and exists on Linux only.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType

_WATCH = """
trap '' HUP INT TERM
while read -r change group; do
    case $change in
        +) groups="$groups $group" ;;
        -) kept=; for other in $groups; do [ "$other" = "$group" ] || kept="$kept $other"; done; groups=$kept ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
"""
_ENLIST = 'echo "+ $$" >&0; exec "$@" </dev/null'


class Guard:
    """A context within which process groups do not outlive this process.

    Attributes
    ----------
    pipe
        The file descriptor to give to an enlisted command as its standard input.
    """

    def __enter__(self) -> Guard:
        read_end, self.pipe = os.pipe()
        # In a session of its own, out of reach of what a terminal or `kill -9 -PGID` sends to the launcher's group.
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH],
            stdin=read_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        os.close(read_end)
        return self

    def enlist(self, command: Sequence[str], env: Mapping[str, str]) -> list[str]:
        """Return what a group's first process must execute to be on the list before it executes `command`.

        The launcher could only list it afterwards, and might die in between. The command finds an empty standard input.
        """
        # Shells drop variables with names that are none of theirs, such as functions that another shell has exported.
        foreign = [f"{name}={value}" for name, value in env.items() if not (name.isidentifier() and name.isascii())]
        return ["/bin/sh", "-c", _ENLIST, "sh", *(["env", *foreign] if foreign else []), *command]

    def dismiss(self, group: int) -> None:
        """Take a group that has gone off the list: the system may give its number to somebody else's."""
        # A broken pipe means that somebody killed the shell: the run goes on as well without it.
        with contextlib.suppress(BrokenPipeError):
            os.write(self.pipe, f"- {group}\n".encode())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.pipe)
        try:
            self._shell.wait(1.0)  # it ends by itself, and what is still listed with it
        except subprocess.TimeoutExpired:  # another thread has forked a process that holds the pipe
            self._shell.kill()
            self._shell.wait()
