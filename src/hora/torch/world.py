"""The world: who this worker is among all workers, and what they share.

Everything else in this room asks `current()` for it; `rounds` makes it and ends it.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]

from hora.torch import farewell
from hora.torch.groups import named_by_ranks
from hora.torch.rendezvous import timeout

if TYPE_CHECKING:
    from hora.torch.handles import Operations
    from hora.torch.negotiation import Negotiation


@dataclass(frozen=True)
class Members:
    """The workers of a process set, as this worker knows them.

    Attributes
    ----------
    number
        The set's `process_set_id`; 0 is the whole world.
    ranks
        Their ranks in the world.
    rank
        This worker's place among them; -1 where it is none of them.
    group
        The process group that carries their operations; None where they are one.
    """

    number: int = 0
    ranks: Sequence[int] = (0,)
    rank: int = 0
    group: dist.ProcessGroup | None = None

    @property
    def size(self) -> int:
        """How many they are."""
        return len(self.ranks)


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
    operations, negotiation
        The operations in flight, and how the workers agree on them; the latter is None where there is one worker.
    sets
        The process sets, by their numbers.
    set_numbers
        Numbers the process sets.
    optimizers
        Counts the optimizers whose gradients are reduced in this round, for each process set.
    deals
        Counts the loaders that were dealt in this round.
    """

    operations: Operations
    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    cross_rank: int = 0
    cross_size: int = 1
    homogeneous: bool = True
    group: dist.ProcessGroup | None = None
    store: Store | None = None
    negotiation: Negotiation | None = None
    sets: dict[int, Members] = field(default_factory=lambda: {0: Members()})
    set_numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    optimizers: defaultdict[int, Iterator[int]] = field(default_factory=lambda: defaultdict(itertools.count))
    deals: Iterator[int] = field(default_factory=itertools.count)

    @property
    def members(self) -> Members:
        """All workers, as a process set."""
        return self.sets[0]

    @property
    def device(self) -> torch.device:
        """Where a tensor must live for the groups to carry it: the CPU, unless they know accelerators alone."""
        if self.group is None or "cpu:" in dist.get_backend_config(self.group):
            return torch.device("cpu")
        accelerator = torch.accelerator.current_accelerator()
        return accelerator or torch.device("cpu")


_world: World | None = None


def enter(world: World | None) -> None:
    """Make a world the current one, or leave it where None is given."""
    global _world
    _world = world


# In torch 2.6 and 2.8 a Gloo group keeps for good how long it was told to wait when it was made.
_TIMEOUTS_CHANGE = dist.is_gloo_available() and hasattr(dist.ProcessGroupGloo, "set_timeout")


def new_group(
    ranks: Sequence[int] | None = None, backend: str | None = None, patience: timedelta | None = None
) -> dist.ProcessGroup:
    """Return another process group, for collectives that must not mix with others.

    Parameters
    ----------
    ranks
        Whose; by default all workers'. Those who are in it call this, and nobody else need.
    backend
        Its engine; by default the world's.
    patience
        How long to wait for one of them to connect, where torch lets that change later; by default as long as a
        collective waits.
    """
    if not _TIMEOUTS_CHANGE:
        patience = None
    with named_by_ranks():
        group: dist.ProcessGroup = dist.new_group(
            None if ranks is None else list(ranks),
            timeout=timeout() if patience is None else min(patience, timeout()),
            backend=backend,
            use_local_synchronization=ranks is not None,
        )
    if patience is not None:
        dist.distributed_c10d._set_pg_timeout(timeout(), group)
    return farewell.remember(group)


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
