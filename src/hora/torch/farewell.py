"""Leaving the world without hanging or aborting.

The destructor of a Gloo group joins its threads while it holds the interpreter lock; a thread that is still dropping
the tensors of the last collective waits for that lock, and the process hangs (18 of 60 exits after one DDP step on two
busy cores; 6 of 60 where the workers met at a store first). So no group is destroyed while it may be busy: when the
process ends not at all, and after `shutdown` once it has been idle for a while.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from contextlib import suppress
from datetime import timedelta

import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]

from hora.torch.rendezvous import await_keys

# How long a worker that is done waits for the others to be done, so that its end breaks no collective of theirs.
_PATIENCE = timedelta(seconds=3)
_IDLE_SECONDS = 2.0

_groups: list[dist.ProcessGroup] = []
_left: list[tuple[float, list[dist.ProcessGroup]]] = []


def remember(group: dist.ProcessGroup) -> dist.ProcessGroup:
    """Keep a group that Hora made from being destroyed behind its back; return it."""
    _groups.append(group)
    return group


def part(store: Store, rank: int, size: int) -> None:
    """Leave the world of one round: say goodbye through the store, and unregister the process groups.

    Parameters
    ----------
    store
        The store of this round; unlike a collective it blocks nobody.
    rank, size
        Who says goodbye, and how many do.
    """
    say_goodbye(store, rank, size)
    unregister()


def unregister() -> None:
    """Unregister the process groups; they are destroyed once they have been idle for a while."""
    now = time.monotonic()
    _left[:] = [(since, groups) for since, groups in _left if now - since < _IDLE_SECONDS]
    _left.append((now, _groups.copy()))
    _groups.clear()
    if dist.is_initialized():
        dist.destroy_process_group()


def dying() -> bool:
    """Return whether the process ends by an exception that nobody caught; it then waits for nobody."""
    return getattr(sys, "last_value", None) is not None


def outlive() -> None:
    """Let the process groups live longer than the interpreter, which then never runs their destructors."""
    for group in [*_groups, *(group for _, groups in _left for group in groups)]:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(group))


# A forked loader worker has the groups, but not their threads, for which a destructor would wait.
os.register_at_fork(after_in_child=outlive)


def say_goodbye(store: Store, rank: int, size: int) -> None:
    """Tell the others that this worker is done, and wait a few seconds at most until all are."""
    # A worker that is gone, or worker 0's store with it, is no reason to stay.
    with suppress(RuntimeError):
        store.set(f"goodbye/{rank}", "")
        await_keys(store, [f"goodbye/{other}" for other in range(size)], _PATIENCE)
