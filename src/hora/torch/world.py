"""The world: who this worker is among all workers, and the process group that they share.

Everything else in this room asks `current()` for it. The variables that torchrun sets say who is who; without them the
world is one worker, has no process group, and communication costs nothing.
"""

from __future__ import annotations

import atexit
import itertools
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]

from hora.torch import farewell
from hora.torch.rendezvous import across, connect, meet, open_store, read_place, timeout


@dataclass(frozen=True)
class World:
    """The place of this worker among all workers.

    Attributes
    ----------
    rank, size
        This worker's number, and how many workers there are.
    local_rank, local_size
        The same among the workers of this host.
    cross_rank, cross_size
        The same among the workers with this `local_rank`, one on each host.
    homogeneous
        Whether every host has as many workers.
    group
        The process group of all workers; None where there is one worker.
    store
        The key-value store of this round; None for one worker, or where the script made the process group.
    deals
        Counts the loaders that were dealt in this round.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    cross_rank: int = 0
    cross_size: int = 1
    homogeneous: bool = True
    group: dist.ProcessGroup | None = None
    store: Store | None = None
    deals: Iterator[int] = field(default_factory=itertools.count)

    @property
    def device(self) -> torch.device:
        """Where a tensor must live for `group` to carry it: the CPU, unless the group knows accelerators alone."""
        if self.group is None or "cpu:" in dist.get_backend_config(self.group):
            return torch.device("cpu")
        accelerator = torch.accelerator.current_accelerator()
        return accelerator or torch.device("cpu")


_world: World | None = None


def init() -> None:
    """Join the other workers; do this before anything else of `hora.torch`.

    The world is read from torchrun's variables (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, GROUP_RANK,
    GROUP_WORLD_SIZE, MASTER_ADDR, MASTER_PORT). With none of them set the world is this one worker. Where the script
    has initialised `torch.distributed` already, its process group is used, and left alone by `shutdown`. A second call
    does nothing.

    Raises
    ------
    HoraError
        Some of the variables are missing or wrong, or a worker did not come within HORA_TIMEOUT_SECONDS.
    """
    global _world
    if _world is None:
        _world = _borrow() if dist.is_initialized() else _join()
        atexit.unregister(_leave_at_exit)
        atexit.register(_leave_at_exit)


def shutdown() -> None:
    """Leave the world; `init` may follow. Without a world this does nothing."""
    global _world
    world, _world = _world, None
    if world is not None and world.store is not None:
        farewell.part(world.store, world.rank, world.size)


def _leave_at_exit() -> None:
    """Leave the world when the interpreter ends."""
    if _world is not None and _world.store is not None and not farewell.dying():
        farewell.say_goodbye(_world.store, _world.rank, _world.size)
    farewell.outlive()


def new_group() -> dist.ProcessGroup:
    """Return another process group of all workers, for collectives that must not mix with the world's own."""
    return farewell.remember(dist.new_group(timeout=timeout()))


def current() -> World:
    """Return the world.

    Raises
    ------
    ValueError
        `init` was not called yet, as in Horovod.
    """
    if _world is None:
        raise ValueError("Hora has not been initialized; call hvd.init() first")
    return _world


def is_initialized() -> bool:
    """Return whether this worker has joined a world."""
    return _world is not None


def rank() -> int:
    """Return this worker's number, 0 to `size() - 1`."""
    return current().rank


def size() -> int:
    """Return how many workers there are."""
    return current().size


def local_rank() -> int:
    """Return this worker's number among the workers of its host."""
    return current().local_rank


def local_size() -> int:
    """Return how many workers this host has."""
    return current().local_size


def cross_rank() -> int:
    """Return this worker's number among the workers with its local rank, one on each host."""
    return current().cross_rank


def cross_size() -> int:
    """Return how many hosts have a worker with this local rank."""
    return current().cross_size


def is_homogeneous() -> bool:
    """Return whether every host has as many workers."""
    return current().homogeneous


def _join() -> World:
    """Join the world that the launcher's variables describe."""
    place = read_place()
    if place is None or place.size == 1:
        return World()
    store = open_store(place)
    hosts = meet(store, place)
    group = farewell.remember(connect(store, place))
    among_hosts = across(hosts, place.rank, place.local_rank)
    return World(place.rank, place.size, place.local_rank, place.local_size, *among_hosts, group, store)


def _borrow() -> World:
    """Describe the world of the process group that the script made."""
    rank, size, group = dist.get_rank(), dist.get_world_size(), dist.group.WORLD
    if size == 1:
        return World()
    name = bytearray(socket.gethostname().encode()[:256].ljust(256, b"\0"))
    here = torch.frombuffer(name, dtype=torch.uint8).to(World(group=group).device)
    everywhere = [torch.empty_like(here) for _ in range(size)]
    dist.all_gather(everywhere, here)
    hosts = [bytes(host.tolist()) for host in everywhere]
    neighbours = [other for other in range(size) if hosts[other] == hosts[rank]]
    local_rank = neighbours.index(rank)
    return World(rank, size, local_rank, len(neighbours), *across(hosts, rank, local_rank), group)
