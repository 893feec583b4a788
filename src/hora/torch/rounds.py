"""A round: from `init()`, which makes the world, to `shutdown()` or the end of the process, which leaves it.

The variables that torchrun sets say who is who; without them the world is one worker, has no process group, and
communication costs nothing.
"""

from __future__ import annotations

import atexit
import socket
from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]

from hora.errors import HoraError
from hora.torch import farewell, heartbeat, timeline, variables, wire
from hora.torch.handles import Operations
from hora.torch.negotiation import Negotiation
from hora.torch.objects import share_secret
from hora.torch.process_sets import ProcessSet, add_process_set, global_process_set
from hora.torch.rendezvous import across, connect, meet, open_store, read_place
from hora.torch.stall import read_limits
from hora.torch.world import Members, World, current, enter, is_initialized, new_group

# How long a worker that is done waits for the others to be done, so that its end breaks no collective of theirs.
_PATIENCE_SECONDS = 3.0


def init(comm: Sequence[int] | None = None, process_sets: Iterable[ProcessSet] | str | None = None) -> None:
    """Join the other workers; do this before anything else of `hora.torch`.

    The world is read from torchrun's variables (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, GROUP_RANK,
    GROUP_WORLD_SIZE, MASTER_ADDR, MASTER_PORT). With none of them set the world is this one worker. Where the script
    has initialised `torch.distributed` already, its process group is used, and left alone by `shutdown`. A second call
    does nothing.

    Parameters
    ----------
    comm
        All the ranks, or None; Horovod takes some of them, which `process_sets` does here.
    process_sets
        The process sets to make, in the same order on every worker. Horovod's "dynamic" is not needed: sets can always
        be added later.

    Raises
    ------
    HoraError
        Some of the variables are missing or wrong, or a worker did not come within HORA_TIMEOUT_SECONDS.
    ValueError
        Two of the process sets have the same ranks, or one has ranks that no worker has.
    """
    if is_initialized():
        return
    variables.honour()
    heartbeat.start()
    enter(_borrow() if dist.is_initialized() else _join())
    atexit.unregister(_leave_at_exit)
    atexit.register(_leave_at_exit)
    global_process_set.ranks = list(range(current().size))
    try:
        if comm is not None and sorted(comm) != global_process_set.ranks:
            raise HoraError(
                "hvd.init(comm=...)",
                f"ranks {sorted(comm)} of a world of {current().size}",
                "Pass no comm, and name some of the workers by hvd.ProcessSet(ranks)",
            )
        for each in () if process_sets is None or isinstance(process_sets, str) else process_sets:
            add_process_set(each)
        timeline.start_as_told()
    except (HoraError, ValueError):
        shutdown()
        raise


def shutdown() -> None:
    """Leave the world; `init` may follow. Without a world this does nothing."""
    if not is_initialized():
        return
    world = current()
    _leave(world, _PATIENCE_SECONDS)
    enter(None)
    if world.store is not None:
        farewell.part(world.store, world.rank, world.size)


def _leave(world: World, patience: float) -> None:
    """Stop agreeing with the others on operations."""
    with timeline.ending():
        if world.negotiation is not None:
            world.negotiation.leave(patience, "has left: its script ended, or called hvd.shutdown()")
            world.operations.close("Hora was shut down")


def _leave_at_exit() -> None:
    """Leave the world when the interpreter ends."""
    if is_initialized():
        world = current()
        _leave(world, 0.0 if farewell.dying() else _PATIENCE_SECONDS)
        if world.store is not None and not farewell.dying():
            farewell.say_goodbye(world.store, world.rank, world.size)
    farewell.outlive()


def _join() -> World:
    """Join the world that the launcher's variables describe."""
    place = read_place()
    if place is None or place.size == 1:
        return _alone()
    with heartbeat.waiting("hvd.init()"):
        store = open_store(place)
        hosts = meet(store, place)
        group = farewell.remember(connect(store, place))
    among_hosts = across(hosts, place.rank, place.local_rank)
    try:
        return _world((place.rank, place.size, place.local_rank, place.local_size, *among_hosts), group, store)
    except BaseException:
        farewell.unregister()  # the next attempt would take the group for the script's own
        raise


def _borrow() -> World:
    """Describe the world of the process group that the script made."""
    rank, size, group = dist.get_rank(), dist.get_world_size(), dist.group.WORLD
    if size == 1:
        return _alone()
    name = bytearray(socket.gethostname().encode()[:256].ljust(256, b"\0"))
    here = torch.frombuffer(name, dtype=torch.uint8).to(_alone(group).device)
    everywhere = [torch.empty_like(here) for _ in range(size)]
    dist.all_gather(everywhere, here)
    hosts = [bytes(host.tolist()) for host in everywhere]
    neighbours = [other for other in range(size) if hosts[other] == hosts[rank]]
    local_rank = neighbours.index(rank)
    place = (rank, size, local_rank, len(neighbours), *across(hosts, rank, local_rank))
    return _world(place, group, None)


def _alone(group: dist.ProcessGroup | None = None) -> World:
    """Describe the world of one worker."""
    return World(Operations(wire.give_zeros), group=group)


def _world(
    place: tuple[int, int, int, int, int, int, bool], group: dist.ProcessGroup | None, store: Store | None
) -> World:
    """Make the world of several workers, with groups for what is negotiated and for the negotiation."""
    rank, size, *_ = place
    limits = read_limits()
    members = Members(0, list(range(size)), rank, new_group())
    operations = Operations(wire.give_zeros)
    negotiation = Negotiation(rank, size, new_group(backend="gloo"), operations.deliver, limits)
    world = World(operations, *place, group, store, negotiation, {0: members})
    share_secret(world)
    return world
