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
from typing import IO

from hora.errors import HoraError
from hora.launch.files import PIECE
from hora.launch.frames import FrameReader, Message, frame
from hora.launch.guard import Guard
from hora.launch.hosts import Host
from hora.launch.remote import RemoteProcess

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
                f"reach host {self.name}", f"{self._command[0]} cannot be executed: {error}", "Install it."
            ) from error
        self._threads = [
            threading.Thread(target=work, name=f"{work.__name__} {self.name}", daemon=True)
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

    @property
    def name(self) -> str:
        """The host's name."""
        return self.host.name

    def ask(self, message: Message, timeout: float, data: bytes = b"") -> Message:
        """Ask the agent something and return its answer; bytes that come with it are its "data".

        Raises
        ------
        HoraError
            It is gone, does not answer in time, or cannot do it.
        """
        what = f"{message['ask']} on host {self.name}"
        self._send(message, data)
        end = time.monotonic() + timeout
        while True:
            try:
                answer = self._answers.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise HoraError(what, f"no answer within {timeout:g} s", self._advice()) from None
            if answer is None or answer["answer"] == message["ask"]:
                break  # another one is that to an earlier question, too late
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
            raise OSError(f"host {self.name}: {error}") from error
        process.pid = answer["pid"]
        return process

    def signal(self, worker: int, number: int, *, group: bool) -> None:
        """Send a signal to a process of the host, or to its group."""
        self._send({"ask": "signal", "worker": worker, "number": number, "group": group})

    def begin(self, worker: int) -> None:
        """Let what a process of the host writes come."""
        self._send({"ask": "begin", "worker": worker})

    def ask_for_stacks(self, worker: int) -> None:
        """Ask for the stacks of a process of the host; `RemoteProcess.stacks` hears the answer."""
        self._send({"ask": "stacks", "worker": worker})

    def touch(self, path: str) -> None:
        """Make an empty file on the host."""
        self._send({"ask": "touch", "path": path})

    def write(self, path: str, data: bytes) -> None:
        """Write a file on the host, in pieces; raises HoraError where that is not possible."""
        for start in range(0, max(1, len(data)), PIECE):
            piece = data[start : start + PIECE]
            self.ask({"ask": "write", "path": path, "start": start}, self._patience, piece)

    def read(self, path: str) -> bytes | None:
        """Read a file of the host, in pieces; None where there is none, HoraError where it cannot be read."""
        whole = bytearray()
        while True:
            answer = self.ask({"ask": "read", "path": path, "start": len(whole)}, self._patience)
            if answer["size"] is None:
                return None
            whole += answer["data"]
            if len(whole) >= answer["size"] or not answer["data"]:
                return bytes(whole)

    def remove(self, path: str) -> None:
        """Remove a directory of the host; its agent does so before it ends."""
        self._send({"ask": "remove", "path": path})

    @property
    def _in(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _send(self, message: Message, data: bytes = b"") -> None:
        """Send a message; one to an agent that is gone is dropped, as `lost` tells."""
        with self._sending, contextlib.suppress(OSError, ValueError):
            self._in.write(frame(message, data))
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
                elif self.answered and time.monotonic() - heard_at > self._patience:  # before, who asks has his own
                    reason = f"no sign of life for {self._patience:g} s"
                    break
        except ValueError as error:
            reason = f"its agent sent something else than messages ({error})"
        self.lost = f"host {self.name} lost: {reason}"
        self._answers.put(None)
        for process in list(self._workers.values()):
            process.lose(self.lost)
        if not self._closing.is_set():
            self._process.kill()

    def _take(self, message: Message, content: bytes) -> None:
        if "answer" in message:
            self.answered = True
            self._answers.put({**message, "data": content})
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
            process.ended(message["ended"], message.get("because"))
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
