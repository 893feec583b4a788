"""A process on another host: what its agent tells of it, and what this launcher asks of it."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
from typing import Any, Protocol

from hora.launch.memory import OutOfMemory
from hora.launch.stacks import SECONDS as STACKS_SECONDS


class Agent(Protocol):
    """What a process needs of the connection to its host's agent."""

    @property
    def name(self) -> str:
        """The host's name."""

    def signal(self, worker: int, number: int, *, group: bool) -> None:
        """Send a signal to a process of the host, or to its group."""

    def begin(self, worker: int) -> None:
        """Let what a process of the host writes come."""

    def ask_for_stacks(self, worker: int) -> None:
        """Ask for the stacks of a process of the host."""


class RemoteProcess:
    """A process on another host, started by its agent: a `hora.launch.process.Process`."""

    def __init__(self, agent: Agent, number: int, out: int, err: int) -> None:
        self.pid = 0
        self.lost: str | None = None
        self.returncode: int | None = None
        self._because: str | None = None
        self._agent, self._number = agent, number
        self._pipes: dict[str, int] = {"stdout": out, "stderr": err}
        self.told_stacks: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._heartbeat, self._state = b"", "?"
        self._closing = threading.Lock()
        self._ended, self._gone = threading.Event(), threading.Event()

    def poll(self) -> int | None:
        """Look whether it has ended."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"worker process {self.pid}", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def begin(self) -> None:
        """Let what it writes come."""
        self._agent.begin(self._number)

    def send_signal(self, number: int, /) -> None:
        """Send a signal to it alone."""
        self._agent.signal(self._number, number, group=False)

    def sweep(self, number: int) -> None:
        """Send a signal to it and all its children."""
        if not self._gone.is_set():
            self._agent.signal(self._number, number, group=True)

    def group_is_alive(self) -> bool:
        """Whether it or one of its children is still there, as far as its host can be asked."""
        return not self._gone.is_set()

    def heartbeat(self) -> bytes:
        """Return the last heartbeat that its host has sent."""
        return self._heartbeat

    def state(self) -> str:
        """Return the letter that Linux has for its state, as its host has sent it."""
        return self._state

    def stacks(self) -> str:
        """Return the stacks of its threads, or why they cannot be had."""
        while not self.told_stacks.empty():  # an answer that came too late
            self.told_stacks.get()
        self._agent.ask_for_stacks(self._number)
        try:
            return self.told_stacks.get(timeout=2 * STACKS_SECONDS)
        except queue.Empty:
            return f"(no stacks: host {self._agent.name} does not answer)\n"

    def why_killed(self, memory: OutOfMemory) -> str | None:
        """Say why SIGKILL ended it, as its host has told; `memory` is this host's."""
        return self._because

    def show_signs(self, heartbeat: bytes, state: str) -> None:
        """Note its last heartbeat, and the state of its process."""
        self._heartbeat, self._state = heartbeat, state

    def write(self, stream: str, data: bytes) -> None:
        """Pass on what it wrote; waits while nobody reads it."""
        view: Any = memoryview(data)
        with contextlib.suppress(OSError):  # the launcher has let go of it
            while view:
                view = view[os.write(self._pipes[stream], view) :]

    def ended(self, returncode: int, because: str | None = None) -> None:
        """Note that it has ended, after all that it wrote itself, and why it was killed, as its host knows it."""
        self._because, self.returncode = because, returncode
        self._ended.set()

    def is_gone(self) -> None:
        """Note that its children have ended too, and close its pipes."""
        with self._closing:
            if not self._gone.is_set():
                self._gone.set()
                for fd in self._pipes.values():
                    os.close(fd)

    def lose(self, reason: str) -> None:
        """Note that nobody will tell how it ended, unless that is known."""
        if self.returncode is None:
            self.lost = reason
            self.ended(-signal.SIGKILL)
        self.is_gone()
