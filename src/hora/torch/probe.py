"""What reducing a bucket costs here: measured once, by all workers together, on buffers that nobody needs."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist

from hora.torch.failure import engine_errors
from hora.torch.layout import Cost
from hora.torch.world import Members

_SIZES = (256 * 2**10, 4 * 2**20)
# Several at once, as backward launches them, so that the delays of one hide behind another.
_AT_ONCE = 4
_ROUNDS = 3

_known: list[tuple[Members, Cost]] = []


def known_cost(members: Members) -> Cost | None:
    """Return what was measured among these workers, if anything was last."""
    return _known[0][1] if _known and _known[0][0] is members else None


def measure_cost(members: Members, group: dist.ProcessGroup) -> Cost:
    """Measure what reducing costs on the CPU: of small and of larger buffers, each the best of a few rounds."""
    small, large = (min(_seconds(size, group) for _ in range(_ROUNDS)) for size in _SIZES)
    per_byte = max(0.0, (large - small) / (_SIZES[1] - _SIZES[0]))
    cost = Cost(max(0.0, small - per_byte * _SIZES[0]), per_byte)
    _known[:] = [(members, cost)]
    return cost


def _seconds(size: int, group: dist.ProcessGroup) -> float:
    """Return what one buffer takes of the time in which several are reduced."""
    buffers = torch.zeros(_AT_ONCE, size // 4)
    with engine_errors("measuring the network for DistributedOptimizer"):
        dist.all_reduce(torch.zeros(1), group=group)
        start = time.perf_counter()
        works = [dist.all_reduce(buffer, group=group, async_op=True) for buffer in buffers]
        for work in works:
            work.wait()
    return (time.perf_counter() - start) / _AT_ONCE
