"""Starts Python workers by forking a process that has imported what they need, which in each of them takes seconds.

The zygote serves its parent over a socket: a request carries a module to run as ``__main__``, the environment and the
file descriptors to run it with. How a worker ended comes back through a pipe of its own. When the parent goes, however
suddenly, the socket closes, and the zygote ends with all that it has started.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from hora.launch.guard import Guard
from hora.launch.process import GroupLeader

IMPORT_SECONDS = 300.0
"""How long the zygote may take until it answers: the first import of torch from a network file system is slow."""

_HEADER = 8
_DESCRIPTORS = 4


class Zygote:
    """A context within which workers can be forked; `start` is a `hora.launch.process.Starter`.

    Parameters
    ----------
    modules
        What it imports before the first worker, as far as it is there. None of them may start a thread.
    env
        Variables for the imports, laid over this process's own; a worker gets the whole of its environment itself.
    """

    def __init__(self, modules: Sequence[str], env: Mapping[str, str]) -> None:
        self._modules, self._env = modules, env
        self._one_request = threading.Lock()
        self._has_answered = False

    def __enter__(self) -> Zygote:
        self._socket, served = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        command = [sys.executable, "-m", __name__, str(served.fileno()), *self._modules]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **self._env, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[served.fileno()],
            start_new_session=True,
        )
        served.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:  # it is still importing
            self._process.kill()
            self._process.wait()

    def start(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path | None, guard: Guard, out: int, err: int
    ) -> ForkedProcess:
        """Fork a worker; its `command` is a module and the module's arguments.

        Raises
        ------
        OSError
            The zygote is gone, or does not answer within `IMPORT_SECONDS`.
        """
        request = json.dumps({"command": list(command), "env": dict(env), "cwd": str(cwd or Path.cwd())}).encode()
        status, status_end = os.pipe()
        try:
            with self._one_request:
                header = len(request).to_bytes(_HEADER, "big")
                socket.send_fds(self._socket, [header], [guard.pipe, out, err, status_end])
                self._socket.sendall(request)
        except OSError as error:
            os.close(status)
            raise OSError("the process that forks the workers has ended") from error
        finally:
            os.close(status_end)
        forked = ForkedProcess(status)
        self._has_answered = True
        return forked

    def is_alive(self) -> bool:
        """Whether it is still there to fork workers."""
        return self._process.poll() is None

    def give_up(self) -> None:
        """Do not wait for the imports to end: a `start` that does, in whichever thread, raises OSError."""
        if not self._has_answered:
            self._process.kill()


class ForkedProcess(GroupLeader):
    """A worker that a zygote has forked, seen from the zygote's parent: a `hora.launch.process.Process`."""

    def __init__(self, status: int) -> None:
        self._status = status
        self.returncode: int | None = None
        self.pid = self._number(IMPORT_SECONDS) or 0
        if self.pid <= 0:
            os.close(status)
            raise OSError("the process that forks the workers does not answer")

    def poll(self) -> int | None:
        """Look whether it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended."""
        if self.returncode is None:
            number = self._number(timeout)
            if number is None:
                raise subprocess.TimeoutExpired(f"worker {self.pid}", timeout or 0.0)
            self.returncode = number
            os.close(self._status)
        return self.returncode

    def send_signal(self, number: int, /) -> None:
        """Send a signal to it alone."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _number(self, timeout: float | None) -> int | None:
        """The next number that the zygote writes; None after `timeout`, SIGKILL's if the zygote itself is gone."""
        if not select.select([self._status], [], [], timeout)[0]:
            return None
        text = b""
        while not text.endswith(b"\n"):
            byte = os.read(self._status, 1)
            if not byte:
                return -signal.SIGKILL
            text += byte
        return int(text)


@dataclass(frozen=True)
class _Request:
    command: list[str]
    env: dict[str, str]
    cwd: str
    guard: int
    out: int
    err: int
    status: int


def _serve(requests: socket.socket) -> _Request | None:
    """Fork a worker for each request until the parent is gone; in a worker, return what it is to become."""
    wake, wake_end = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wake_end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_end)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([requests.fileno(), wake], [], [])
        if wake in ready:
            os.read(wake, 1 << 10)
            _reap(running)
        if requests.fileno() in ready:
            request = _receive(requests)
            if request is None:
                break
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for fd in (wake, wake_end, request.status, *running.values()):
                    os.close(fd)
                return request
            for fd in (request.guard, request.out, request.err):
                os.close(fd)
            running[pid] = request.status
            _tell(request.status, pid)
    for pid in running:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    return None


def _receive(requests: socket.socket) -> _Request | None:
    try:
        header, fds, _flags, _address = socket.recv_fds(requests, _HEADER, _DESCRIPTORS, socket.MSG_WAITALL)
        text = requests.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL) if len(header) == _HEADER else b""
    except ConnectionResetError:
        return None
    if not text:
        return None
    guard, out, err, status = fds
    return _Request(**json.loads(text), guard=guard, out=out, err=err, status=status)


def _reap(running: dict[int, int]) -> None:
    """Tell how those ended that have."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        fd = running.pop(pid)
        _tell(fd, os.waitstatus_to_exitcode(status))
        os.close(fd)


def _tell(fd: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(fd, f"{number}\n".encode())


def _become(request: _Request) -> None:
    """Run the module, as ``python -m`` would in the environment asked for."""
    os.setsid()
    try:
        os.write(request.guard, f"+ {os.getpid()}\n".encode())
    except BrokenPipeError:  # whoever asked for it is gone
        os._exit(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    for fd, standard in ((empty, 0), (request.out, 1), (request.err, 2)):
        os.dup2(fd, standard)
        os.close(fd)
    os.close(request.guard)
    os.environ.clear()
    os.environ.update(request.env)
    os.chdir(request.cwd)
    tempfile.tempdir = None  # an import may have asked for it, with the zygote's environment
    sys.argv = request.command
    runpy.run_module(request.command[0], run_name="__main__", alter_sys=True)


def main() -> None:
    """Import, then serve: ``python -m hora.launch.zygote DESCRIPTOR MODULE...``."""
    descriptor, *modules = sys.argv[1:]
    for module in modules:
        with contextlib.suppress(ImportError):  # the worker that needs it will say so
            importlib.import_module(module)
    gc.freeze()  # a collection in a worker would copy every page that holds what was imported
    with socket.socket(fileno=int(descriptor)) as requests:
        request = _serve(requests)
    if request is not None:
        _become(request)


if __name__ == "__main__":
    main()
