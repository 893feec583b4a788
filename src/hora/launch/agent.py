"""Runs a job's workers on one host for a launcher that is elsewhere: ``python -m hora.launch.agent``, however started.

It takes requests from its standard input and tells what happens on its standard output, in `hora.launch.frames`; so
whatever starts a command on another host (ssh, srun, kubectl exec) can be a launcher. When its input ends, or the
launcher has given no sign of life for a while, it ends its workers: a host that is cut off must not train on.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import selectors
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from hora import __version__
from hora.launch.doctor.answers import Answers
from hora.launch.environment import host_environment, installed_torch, reserved_port
from hora.launch.files import Files
from hora.launch.frames import FrameReader, Message, frame
from hora.launch.guard import Guard
from hora.launch.interfaces import address_of, interface_of
from hora.launch.memory import OutOfMemory
from hora.launch.process import Executed, execute
from hora.launch.result import Stream

GRACE_SECONDS = 5.0
"""How long workers have from SIGTERM to SIGKILL when the launcher is gone."""

ALIVE_SECONDS = 1.0
"""How often an agent gives a sign of life."""

_CHUNK = 1 << 16
_BACKLOG = 1 << 22  # bytes that wait to be sent, beyond which workers wait to be read
_PAUSE = 0.05


class Agent:
    """Serves one launcher.

    Parameters
    ----------
    requests, answers
        The file descriptors to read from and to write to.
    guard
        What ends the workers if this process dies.
    """

    def __init__(self, requests: int, answers: int, guard: Guard) -> None:
        self._requests, self._answers, self._guard = requests, answers, guard
        for fd in (requests, answers):
            os.set_blocking(fd, False)
        self._reader = FrameReader()
        self._waiting = bytearray()
        self._workers: dict[int, _Running] = {}
        self._made: list[Path] = []
        self._memory = OutOfMemory()
        self._port = contextlib.ExitStack()
        self._stacks_taken: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ)
        self._patience = float("inf")
        self._heard_at = self._told_at = time.monotonic()
        self._leaving = False
        self._serve: dict[str, Callable[[Message], Message | None]] = {
            "hello": self._hello,
            "prepare": self._prepare,
            "start": self._start,
            "begin": self._begin,
            "signal": self._signal,
            "touch": self._touch,
            "remove": self._remove,
            "stacks": self._take_stacks,
            "ping": lambda message: None,
            **Files(self._make_directory).serve,
            **Answers().serve,
        }

    def serve(self) -> None:
        """Serve until the launcher is gone, then end what it has started."""
        while not self._leaving:
            self._turn()
            if time.monotonic() - self._heard_at > self._patience:
                print(f"hora: no sign of life of the launcher for {self._patience:g} s", file=sys.stderr)
                self._leaving = True
        for number in (signal.SIGTERM, signal.SIGKILL):
            for worker in self._workers.values():
                worker.process.sweep(number)
            end = time.monotonic() + GRACE_SECONDS
            while time.monotonic() < end and any(w.process.group_is_alive() for w in self._workers.values()):
                for worker in self._workers.values():
                    worker.process.poll()
                    worker.discard()
                time.sleep(_PAUSE)
        for path in self._made:
            shutil.rmtree(path, ignore_errors=True)

    def leave(self, _number: int, _frame: FrameType | None) -> None:
        """End at the next turn: a signal handler."""
        self._leaving = True

    def _turn(self) -> None:
        if len(self._waiting) < _BACKLOG:
            for key, _events in self._selector.select(_PAUSE):
                if key.fd == self._requests:
                    self._listen()
                else:
                    worker, stream = key.data
                    self._forward(worker, stream, key.fd)
        elif select.select([self._requests], [self._answers], [], _PAUSE)[0]:
            self._listen()
        for worker in list(self._workers.values()):
            if worker.begun:
                self._look_at(worker)
        while not self._stacks_taken.empty():
            self._tell(self._stacks_taken.get())
        if time.monotonic() - self._told_at > ALIVE_SECONDS:
            self._told_at = time.monotonic()
            self._tell({"alive": True})
            for worker in self._workers.values():
                self._tell({"worker": worker.number, "state": worker.process.state()}, worker.process.heartbeat())
        self._send()

    def _listen(self) -> None:
        data = os.read(self._requests, _CHUNK)
        self._heard_at = time.monotonic()
        if not data:
            self._leaving = True
            return
        for message, content in self._reader.feed(data):
            try:
                answer = self._serve[message["ask"]]({**message, "data": content})
            except (OSError, ValueError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            if answer is not None:
                content = answer.pop("data", b"")
                self._tell({"answer": message["ask"], **answer}, content)

    def _tell(self, message: Message, data: bytes = b"") -> None:
        self._waiting += frame(message, data)

    def _send(self) -> None:
        """Send what can be sent without waiting: the network may be gone."""
        try:
            while self._waiting:
                del self._waiting[: os.write(self._answers, self._waiting[:_CHUNK])]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._leaving = True

    def _hello(self, message: Message) -> Message:
        """Tell what this host is, and look whether the job can run here."""
        self._patience = float(message["patience"])
        connection = os.environ.get("SSH_CONNECTION", "").split()
        return {
            "python": ".".join(map(str, sys.version_info[:3])),
            "torch": installed_torch(),
            "hora": __version__,
            "time": time.time(),
            "address": connection[2] if len(connection) == 4 else None,
            "launcher": connection[0] if len(connection) == 4 else None,
            "missing": [path for path in message["paths"] if not Path(path).exists()],
        }

    def _prepare(self, message: Message) -> Message:
        """Find the interface that the others reach this host by and, where asked, a port for worker 0."""
        address = address_of(message["interface"]) if message.get("interface") else message["address"]
        answer: Message = {"address": address, "interface": message.get("interface") or interface_of(address)}
        if message["listens"]:
            self._port.close()  # that of the generation before
            answer["port"] = self._port.enter_context(reserved_port(address))
        return answer

    def _start(self, message: Message) -> Message | None:
        number = message["worker"]
        if "HORA_RUN_DIR" in message["env"]:
            self._make_directory(Path(message["env"]["HORA_RUN_DIR"]))
        if not self._workers:  # what was killed before explains nothing of these
            self._memory = OutOfMemory()
        env = {**os.environ, **message["env"]}
        env.update(host_environment(message["local_size"], env))
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        try:
            process = execute(message["command"], env, Path(message["cwd"]), self._guard, out_end, err_end)
        except OSError as error:
            os.close(out)
            os.close(err)
            return {"worker": number, "error": str(error)}
        finally:
            os.close(out_end)
            os.close(err_end)
        worker = _Running(number, process, {"stdout": out, "stderr": err})
        self._workers[number] = worker
        return {"worker": number, "pid": process.pid}

    def _begin(self, message: Message) -> None:
        """Let what a worker writes pass: until it has started all the launcher reads nothing, nor what is behind it."""
        worker = self._workers.get(message["worker"])
        if worker is not None and not worker.begun:
            worker.begun = True
            for stream, fd in worker.pipes.items():
                os.set_blocking(fd, False)
                self._selector.register(fd, selectors.EVENT_READ, (worker, stream))

    def _make_directory(self, path: Path) -> None:
        """Make a directory and those above it, save what is there: of the launcher itself, or of an earlier start."""
        for place in reversed([place for place in (path, *path.parents) if not place.exists()]):
            with contextlib.suppress(FileExistsError):
                place.mkdir(mode=0o700)
                self._made.append(place)

    def _signal(self, message: Message) -> None:
        worker = self._workers.get(message["worker"])
        if worker is not None:
            (worker.process.sweep if message["group"] else worker.process.send_signal)(message["number"])

    def _touch(self, message: Message) -> None:
        Path(message["path"]).touch()

    def _remove(self, message: Message) -> None:
        shutil.rmtree(message["path"], ignore_errors=True)

    def _take_stacks(self, message: Message) -> None:
        """Ask a worker for its stacks, in a thread: it may take its time."""

        def take(worker: _Running) -> None:
            self._stacks_taken.put({"worker": worker.number, "stacks": worker.process.stacks()})

        if (worker := self._workers.get(message["worker"])) is not None:
            threading.Thread(target=take, args=(worker,), daemon=True).start()

    def _forward(self, worker: _Running, stream: Stream, fd: int) -> bool:
        """Send a chunk of what a worker wrote; return whether there may be more."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        if data:
            self._tell({"worker": worker.number, "stream": stream}, data)
        else:
            self._close(worker, stream)
        return bool(data)

    def _look_at(self, worker: _Running) -> None:
        """Tell that a worker has ended, after all that it wrote, and later that its children have."""
        if not worker.told_end and worker.process.poll() is not None:
            for stream, fd in list(worker.pipes.items()):
                while self._forward(worker, stream, fd) and len(self._waiting) < _BACKLOG:
                    pass
            code = worker.process.returncode
            because = worker.process.why_killed(self._memory) if code == -signal.SIGKILL else None
            self._tell({"worker": worker.number, "ended": code, "because": because})
            worker.told_end = True
        if worker.told_end and not worker.process.group_is_alive():
            for stream, fd in list(worker.pipes.items()):
                while self._forward(worker, stream, fd):
                    pass
                if stream in worker.pipes:
                    self._close(worker, stream)
            self._guard.dismiss(worker.process.pid)
            del self._workers[worker.number]
            self._tell({"worker": worker.number, "gone": True})

    def _close(self, worker: _Running, stream: Stream) -> None:
        fd = worker.pipes.pop(stream)
        self._selector.unregister(fd)
        os.close(fd)


class _Running:
    """A worker that this agent has started."""

    def __init__(self, number: int, process: Executed, pipes: dict[Stream, int]) -> None:
        self.number, self.process, self.pipes = number, process, pipes
        self.begun = self.told_end = False

    def discard(self) -> None:
        """Read what it writes, for nobody, so that it can end."""
        for fd in self.pipes.values():
            os.set_blocking(fd, False)
            with contextlib.suppress(BlockingIOError):
                os.read(fd, _CHUNK)


def main() -> None:
    """Serve whoever started this."""
    # What the workers' interpreter or a library prints here by itself must not mix with the answers.
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with Guard() as guard:
        agent = Agent(sys.stdin.fileno(), answers, guard)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, agent.leave)
        agent.serve()


if __name__ == "__main__":
    main()
