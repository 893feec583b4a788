"""Workers that are forked for one test and may be killed in it: each is a process of its own, as in a real job."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from pool import free_port, torchrun_variables

import hora.torch as hvd

TIMEOUT_SECONDS = 20
"""After so long the engine gives up a collective."""

_PRELOAD = ["pytest", "torch._dynamo", "torch.distributed", "hora.torch", "paths"]


@dataclass(frozen=True)
class Deaths:
    """What came of killing a worker of a job.

    Attributes
    ----------
    hung
        The survivors that said nothing within the limit.
    errors
        What the others raised, by rank.
    seconds
        From the kill to the last survivor's error.
    """

    hung: list[int]
    errors: dict[int, BaseException]
    seconds: float


def kill_one(path: Callable[[int], object], size: int, seed: int, limit: float) -> Deaths:
    """Let workers run a path of collectives without end, kill one of them at a random time, and see what becomes of it.

    Parameters
    ----------
    path
        Called with 0, 1, 2 and so on by all workers.
    size
        How many workers.
    seed
        Of who is killed, and when.
    limit
        Seconds after which a survivor counts as hung.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    port = free_port()
    ours: list[Connection[Any, Any]] = []
    processes: list[Any] = []
    pick = random.Random(seed)
    victim = pick.randrange(size)
    try:
        for rank in range(size):
            own, theirs = context.Pipe()
            process = context.Process(target=_live, args=(theirs, path, torchrun_variables(rank, size, port)))
            process.start()
            theirs.close()
            ours.append(own)
            processes.append(process)
        for connection in ours:  # each has come through the first round
            assert connection.poll(60), "the workers have not started"
            assert connection.recv() is None
        time.sleep(pick.uniform(0, 0.03))
        start = time.monotonic()
        os.kill(processes[victim].pid, signal.SIGKILL)
        waiting = {ours[rank]: rank for rank in range(size) if rank != victim}
        errors: dict[int, BaseException] = {}
        seconds = 0.0
        while waiting and (ready := wait(list(waiting), start + limit - time.monotonic())):
            seconds = time.monotonic() - start
            for connection in ready:
                errors[waiting.pop(connection)] = _hear(connection)  # type: ignore[call-overload]
        return Deaths(sorted(waiting.values()), errors, seconds)
    finally:
        for process in processes:
            process.kill()
            process.join()
        for connection in ours:
            connection.close()


def _hear(connection: Connection[Any, Any]) -> BaseException:
    try:
        error: BaseException = connection.recv()
    except EOFError:
        return EOFError("ended without an error")
    return error


def _live(connection: Connection[Any, Any], path: Callable[[int], object], variables: dict[str, str]) -> None:
    """Run a path until it fails, and tell of it."""
    import torch

    torch.set_num_threads(1)
    os.environ.update(variables, HORA_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS))
    try:
        hvd.init()
        path(0)
        connection.send(None)
        for index in itertools.count(1):
            path(index)
    except Exception as error:
        connection.send(error if type(error) is hvd.HorovodInternalError else RuntimeError(traceback.format_exc()))
    finally:
        connection.close()
        os._exit(1)  # as a script that ends by this error: it waits for nobody
