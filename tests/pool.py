"""A pool of long-lived workers for tests: they import torch once, and run functions of tests in worlds of any size."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What became of a function on one worker: its value, or the error that it raised, or neither (it died or hung)."""

    rank: int
    value: Any = None
    error: BaseException | None = None
    traceback: str = ""


class WorkerError(Exception):
    """A function raised on a worker; the message holds the traceback of each that did."""


class Pool:
    """Worker processes that live as long as the test session.

    `run` calls a function on the first `size` workers, each in a fresh round of `hvd.init()` and `hvd.shutdown()`. The
    function travels by reference, so it must stand at the top of a test module. One that dies or hangs is replaced.
    """

    def __init__(self) -> None:
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._connections: list[Connection[Any, Any]] = []
        self._ports: dict[int, int] = {}

    def run(
        self,
        function: Callable[..., Any],
        *args: Any,
        size: int = 2,
        timeout: float = 60.0,
        env: Mapping[str, str] | None = None,
        init: bool = True,
    ) -> list[Any]:
        """Return what `function(*args)` returned on each worker, in the order of the ranks; raise if it raised on any.

        Parameters
        ----------
        function, args
            What to call.
        size
            How many workers.
        timeout
            The seconds that all of it may take.
        env
            Variables to set meanwhile.
        init
            Whether to call `hvd.init()` before; torchrun's variables are set either way.
        """
        outcomes = self.outcomes(function, *args, size=size, timeout=timeout, env=env, init=init)
        failed = [outcome for outcome in outcomes if outcome.traceback]
        if failed:
            raise WorkerError("\n".join(f"worker {outcome.rank}:\n{outcome.traceback}" for outcome in failed))
        return [outcome.value for outcome in outcomes]

    def outcomes(
        self,
        function: Callable[..., Any],
        *args: Any,
        size: int = 2,
        timeout: float = 60.0,
        env: Mapping[str, str] | None = None,
        init: bool = True,
    ) -> list[Outcome]:
        """Return what became of `function(*args)` on each worker; for tests that expect errors. See `run`."""
        while len(self._processes) < size:
            process, connection = _start_worker()
            self._processes.append(process)
            self._connections.append(connection)
        port = self._ports.setdefault(size, free_port())
        for rank in range(size):
            variables = {**torchrun_variables(rank, size, port), **(env or {})}
            self._connections[rank].send((sys.path, variables, init, function, args))
        outcomes: dict[int, Outcome] = {}
        end = time.monotonic() + timeout
        while len(outcomes) < size:
            waiting = {self._connections[rank]: rank for rank in range(size) if rank not in outcomes}
            ready = wait(list(waiting), timeout=max(0.0, end - time.monotonic()))
            for connection in ready:
                rank = waiting[connection]  # type: ignore[index]
                outcomes[rank] = _receive(rank, connection)  # type: ignore[arg-type]
            if not ready:
                outcomes |= {rank: Outcome(rank, traceback=f"hung for {timeout:g} s") for rank in waiting.values()}
        lost = [rank for rank, outcome in outcomes.items() if outcome.traceback and outcome.error is None]
        for rank in lost:
            self._replace(rank)
        if lost:
            # Their stores were lost with them, or still hold what they left.
            self._ports.clear()
        return [outcomes[rank] for rank in range(size)]

    def close(self) -> None:
        """End the workers; those that hang are killed."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join()

    def _replace(self, rank: int) -> None:
        """Put a new worker in the place of one that is lost."""
        self._connections[rank].close()
        self._processes[rank].kill()
        self._processes[rank].join()
        self._processes[rank], self._connections[rank] = _start_worker()


def _start_worker() -> tuple[multiprocessing.process.BaseProcess, Connection[Any, Any]]:
    """Start a worker; return it and the connection to it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,))
    process.start()
    theirs.close()
    return process, ours


def _receive(rank: int, connection: Connection[Any, Any]) -> Outcome:
    """Read a worker's answer; its end is one, too."""
    try:
        value, error, text = connection.recv()
    except (EOFError, ConnectionError):
        return Outcome(rank, traceback="died")
    return Outcome(rank, value, error, text)


def _serve(connection: Connection[Any, Any]) -> None:
    """Live as a worker: run functions until the test session closes the connection."""
    os.environ["OMP_NUM_THREADS"] = "1"
    # A spawned process would spawn, too: each loader worker of a test would import torch.
    multiprocessing.set_start_method("fork", force=True)
    import torch

    import hora.torch as hvd

    torch.set_num_threads(1)
    # An optimizer and its hooks know each other, so only the collector ends its process groups, whose threads wake a
    # hundred times a second. What was imported need not be looked at each time.
    gc.collect()
    gc.freeze()
    while True:
        try:
            paths, variables, init, function, args = connection.recv()
        except EOFError:
            return
        sys.path[:] = paths
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        value, error, text = None, None, ""
        try:
            if init:
                hvd.init()
            value = function(*args)
        except Exception as caught:
            error, text = _portable(caught), traceback.format_exc()
        finally:
            hvd.shutdown()
            for name, old in before.items():
                os.environ.pop(name) if old is None else os.environ.update({name: old})
        connection.send((value, error, text))
        del value, error, function, args
        gc.collect()


def _portable(error: Exception) -> Exception:
    """Return an error that survives the way to the test."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def torchrun_variables(rank: int, size: int, port: int) -> dict[str, str]:
    """Return what torchrun would set."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "GROUP_RANK": "0",
        "GROUP_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "HORA_TIMEOUT_SECONDS": "30",
    }


def free_port() -> int:
    """Find a port that nobody holds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
