"""The launcher's side of a host's agent: what it asks, what it hears, and processes there that look like ones here."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from hora.errors import HoraError
from hora.launch.frames import FrameReader, Message, frame
from hora.launch.guard import Guard
from hora.launch.hosts import Host
from hora.launch.stacks import SECONDS as STACKS_SECONDS

PING_SECONDS = 1.0
_CHUNK = 1 << 16
_FIRST_WORDS = 20


class Connection:
    """A context within which a host's agent serves this launcher; `start` is a `hora.launch.process.Starter`.

    Parameters
    ----------
    host
        The host.
    command
        What starts the agent there, with its standard streams here.
    patience
        Seconds without a sign of life after which either side gives the other up.

    Attributes
    ----------
    host
        The host.
    lost
        Why the host's agent is gone, None while it is there.
    answered
        Whether the agent has answered at all.
    said
        What was written to standard error by whatever starts the agent, such as ssh.
    """

    def __init__(self, host: Host, command: Sequence[str], patience: float) -> None:
        self.host = host
        self.lost: str | None = None
        self.answered = False
        self.said: deque[str] = deque(maxlen=_FIRST_WORDS)
        self._command, self._patience = command, patience
        self._answers: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._workers: dict[int, RemoteProcess] = {}
        self._numbers = 0
        self._closing = threading.Event()

    def __enter__(self) -> Connection:
        try:
            # A session of its own: Ctrl-C in the terminal reaches the launcher alone.
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise HoraError(
                f"reach host {self.host.name}", f"{self._command[0]} cannot be executed: {error}", "Install it."
            ) from error
        self._threads = [
            threading.Thread(target=work, name=f"{work.__name__} {self.host.name}", daemon=True)
            for work in (self._hear, self._ping, self._overhear)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._in.close()  # the agent ends what is left and then itself
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(PING_SECONDS + 1.0)

    def ask(self, message: Message, timeout: float) -> Message:
        """Ask the agent something and return its answer.

        Raises
        ------
        HoraError
            It is gone, does not answer in time, or cannot do it.
        """
        what = f"{message['ask']} on host {self.host.name}"
        self._send(message)
        try:
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise HoraError(what, f"no answer within {timeout:g} s", self._advice()) from None
        if answer is None:
            self._answers.put(None)  # for whoever asks next
            raise HoraError(what, self.lost or "its agent has ended", self._advice())
        if "error" in answer and "worker" not in answer:
            raise HoraError(what, str(answer["error"]), self._advice())
        return answer

    def start(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path | None, guard: Guard, out: int, err: int
    ) -> RemoteProcess:
        """Start a process on the host; `guard` is not needed, since the agent has one of its own.

        Raises
        ------
        OSError
            There is no such command or directory, or the host is lost.
        """
        number, self._numbers = self._numbers, self._numbers + 1
        process = RemoteProcess(self, number, os.dup(out), os.dup(err))
        self._workers[number] = process
        request = {"ask": "start", "worker": number, "command": list(command), "env": dict(env)}
        try:
            answer = self.ask(
                {**request, "cwd": str(cwd or Path.cwd()), "local_size": int(env["LOCAL_WORLD_SIZE"])}, self._patience
            )
            if "error" in answer:
                raise OSError(answer["error"])
        except (HoraError, OSError) as error:
            del self._workers[number]
            process.ended(-signal.SIGKILL)
            process.is_gone()
            raise OSError(f"host {self.host.name}: {error}") from error
        process.pid = answer["pid"]
        return process

    def signal(self, worker: int, number: int, *, group: bool) -> None:
        """Send a signal to a process of the host, or to its group."""
        self._send({"ask": "signal", "worker": worker, "number": number, "group": group})

    def ask_for_stacks(self, worker: int) -> None:
        """Ask for the stacks of a process of the host; `RemoteProcess.stacks` hears the answer."""
        self._send({"ask": "stacks", "worker": worker})

    def touch(self, path: str) -> None:
        """Make an empty file on the host."""
        self._send({"ask": "touch", "path": path})

    def remove(self, path: str) -> None:
        """Remove a directory of the host; its agent does so before it ends."""
        self._send({"ask": "remove", "path": path})

    @property
    def _in(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _send(self, message: Message) -> None:
        """Send a message; one to an agent that is gone is dropped, as `lost` tells."""
        with self._sending, contextlib.suppress(OSError, ValueError):
            self._in.write(frame(message))
            self._in.flush()

    def _ping(self) -> None:
        """Give a sign of life, in a thread of its own: another may wait for a terminal that does not scroll."""
        while not self._closing.wait(PING_SECONDS):
            self._send({"ask": "ping"})

    def _overhear(self) -> None:
        """Keep what ssh says."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said.append(line.decode("utf-8", "replace").rstrip())

    def _hear(self) -> None:
        """Take what the agent tells until it is gone."""
        assert self._process.stdout is not None
        source, reader = self._process.stdout.fileno(), FrameReader()
        heard_at = time.monotonic()
        try:
            while True:
                if select.select([source], [], [], PING_SECONDS)[0]:
                    data = os.read(source, _CHUNK)
                    if not data:
                        reason = self._ending()
                        break
                    for message, content in reader.feed(data):
                        self._take(message, content)
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > self._patience:
                    reason = f"no sign of life for {self._patience:g} s"
                    break
        except ValueError as error:
            reason = f"its agent sent something else than messages ({error})"
        self.lost = f"host {self.host.name} lost: {reason}"
        self._answers.put(None)
        for process in list(self._workers.values()):
            process.lose(self.lost)
        if not self._closing.is_set():
            self._process.kill()

    def _take(self, message: Message, content: bytes) -> None:
        if "answer" in message:
            self.answered = True
            self._answers.put(message)
            return
        process = self._workers.get(message.get("worker", -1))
        if process is None:
            return
        if "stream" in message:
            process.write(message["stream"], content)
        elif "state" in message:
            process.show_signs(content, message["state"])
        elif "stacks" in message:
            process.told_stacks.put(message["stacks"])
        elif "ended" in message:
            process.ended(message["ended"])
        elif "gone" in message:
            del self._workers[message["worker"]]
            process.is_gone()

    def _ending(self) -> str:
        """Tell how the command that held the connection ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        words = f": {self.said[-1]}" if self.said else ""
        return f"its connection was closed{words}"

    def _advice(self) -> str:
        return f"Look at what {self._command[0]} says of it: {'; '.join(self.said) or 'nothing'}."


class RemoteProcess:
    """A process on another host, started by its agent: a `hora.launch.process.Process`."""

    def __init__(self, connection: Connection, number: int, out: int, err: int) -> None:
        self.pid = 0
        self.lost: str | None = None
        self.returncode: int | None = None
        self._connection, self._number = connection, number
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

    def send_signal(self, number: int, /) -> None:
        """Send a signal to it alone."""
        self._connection.signal(self._number, number, group=False)

    def sweep(self, number: int) -> None:
        """Send a signal to it and all its children."""
        if not self._gone.is_set():
            self._connection.signal(self._number, number, group=True)

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
        self._connection.ask_for_stacks(self._number)
        try:
            return self.told_stacks.get(timeout=2 * STACKS_SECONDS)
        except queue.Empty:
            return f"(no stacks: host {self._connection.host.name} does not answer)\n"

    def show_signs(self, heartbeat: bytes, state: str) -> None:
        """Note its last heartbeat, and the state of its process."""
        self._heartbeat, self._state = heartbeat, state

    def write(self, stream: str, data: bytes) -> None:
        """Pass on what it wrote; waits while nobody reads it."""
        view: Any = memoryview(data)
        with contextlib.suppress(OSError):  # the launcher has let go of it
            while view:
                view = view[os.write(self._pipes[stream], view) :]

    def ended(self, returncode: int) -> None:
        """Note that it has ended, after all that it wrote itself."""
        self.returncode = returncode
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
