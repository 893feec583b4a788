"""Process sets: some of the workers, who run operations of their own among each other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import torch
import torch.distributed as dist

from hora.torch.calls import Call
from hora.torch.failure import engine_errors
from hora.torch.handles import ask
from hora.torch.world import Members, current, new_group

# The members of a set have just agreed on it, so none is far. Nothing can tell the engine that one died meanwhile.
_CONNECTING = timedelta(seconds=15)


class ProcessSet:
    """Some of the workers, in the order of their ranks.

    Parameters
    ----------
    ranks
        Their ranks in the world.

    Attributes
    ----------
    process_set_id
        Its number, alike on all workers; None until `init` or `add_process_set` has made it known to them.
    ranks
        The sorted ranks; of `global_process_set`, all ranks of the world.
    """

    def __init__(self, ranks: Iterable[int]) -> None:
        if not isinstance(ranks, Iterable):
            raise ValueError(f"a ProcessSet needs ranks; got {type(ranks).__name__} (communicators are not taken)")
        self.process_set_id: int | None = None
        self.ranks: list[int] = sorted(ranks)
        if any(not isinstance(rank, int) for rank in self.ranks):
            raise ValueError("a ProcessSet needs ranks, which are whole numbers")

    def size(self) -> int | None:
        """Return how many workers are in it; None while it is not known to them."""
        return None if self.process_set_id is None else _known(self).size

    def rank(self) -> int | None:
        """Return this worker's place in it; -1 outside of it, None while it is not known to the workers."""
        return None if self.process_set_id is None else _known(self).rank

    def included(self) -> bool:
        """Return whether this worker is in it."""
        return current().rank in self.ranks

    def __str__(self) -> str:
        return f"ProcessSet(process_set_id={self.process_set_id}, ranks={self.ranks})"


global_process_set = ProcessSet([])
global_process_set.process_set_id = 0


def add_process_set(process_set: ProcessSet | Iterable[int]) -> ProcessSet:
    """Make a process set known to all workers; all of them call this, in the same order.

    Parameters
    ----------
    process_set
        The set, or its ranks.

    Returns
    -------
    ProcessSet
        The set, which can be passed as `process_set` from now on.

    Raises
    ------
    ValueError
        There is a set with these ranks already, or no worker has one of them.
    HorovodInternalError
        The workers add different sets, on every worker alike; or one is gone.
    """
    if not isinstance(process_set, ProcessSet):
        process_set = ProcessSet(process_set)
    world, ranks = current(), process_set.ranks
    ask(Call("add_process_set", None, [], {"ranks": ranks}), world.members)
    if not ranks or len(set(ranks)) < len(ranks) or not 0 <= ranks[0] <= ranks[-1] < world.size:
        raise ValueError(f"a process set needs different ranks of 0 to {world.size - 1}; got {ranks}")
    twin = next((members for members in world.sets.values() if list(members.ranks) == ranks), None)
    if twin is not None:
        raise ValueError(f"there is a process set of these ranks already: number {twin.number}, ranks {ranks}")
    place = ranks.index(world.rank) if world.rank in ranks else -1
    number = next(world.set_numbers)
    members = Members(number, ranks, place)
    if place >= 0 and len(ranks) > 1:
        with engine_errors(f"connecting the workers of process set {ranks}", members):
            members = replace(members, group=_connect(ranks))
    world.sets[number] = members
    process_set.process_set_id = number
    return process_set


def remove_process_set(process_set: ProcessSet) -> bool:
    """Forget a process set, on all workers at once.

    Returns
    -------
    bool
        Whether it was known; the global set is never removed.
    """
    number = process_set.process_set_id
    if not number:
        return False
    world = current()
    ask(Call("remove_process_set", None, [], {"ranks": process_set.ranks}), world.members)
    process_set.process_set_id = None
    return world.sets.pop(number, None) is not None


def members_of(process_set: ProcessSet) -> Members:
    """Return the members of a set that this worker is in.

    Raises
    ------
    ValueError
        The set is not known to the workers, or this worker is not in it.
    """
    members = _known(process_set)
    if members.rank < 0:
        raise ValueError(f"worker {current().rank} is not in {process_set}, so it cannot call an operation of it")
    return members


def _connect(ranks: list[int]) -> dist.ProcessGroup:
    """Make the process group of a set, in a thread that can be left behind.

    Gloo waits for the address of a member as long as it was told, and where that one dies then, five times as long for
    its connection.

    Raises
    ------
    RuntimeError
        Not all of them have connected.
    """
    made: queue.SimpleQueue[dist.ProcessGroup | BaseException] = queue.SimpleQueue()
    device = torch.get_device_module().current_device() if torch.accelerator.is_available() else None

    def make() -> None:
        try:
            if device is not None:  # each thread has a device of its own
                torch.get_device_module().set_device(device)
            made.put(new_group(ranks, patience=_CONNECTING))
        except BaseException as error:
            made.put(error)

    threading.Thread(target=make, name="hora connects a process set", daemon=True).start()
    seconds = 2 * _CONNECTING.total_seconds()
    try:
        found = made.get(timeout=seconds)
    except queue.Empty:
        raise RuntimeError(f"they have not connected within {seconds:g} s") from None
    if isinstance(found, BaseException):
        raise found
    return found


def _known(process_set: ProcessSet) -> Members:
    """Look a set up in the world."""
    if not isinstance(process_set, ProcessSet):
        raise ValueError(f"process_set must be an hvd.ProcessSet; got {type(process_set).__name__}")
    sets = current().sets
    number = process_set.process_set_id
    if number not in sets or (number and list(sets[number].ranks) != process_set.ranks):
        raise ValueError(f"{process_set} is not known to the workers; pass it to hvd.init() or hvd.add_process_set()")
    return sets[number]
