"""Some of the workers among themselves: process sets, and what a worker outside of one may not do."""

from __future__ import annotations

import time
from datetime import timedelta
from unittest import mock

import pytest
import torch
import torch.distributed as dist

import hora.torch as hvd
from hora.torch import process_sets


def within_sets():
    rank, size = hvd.rank(), hvd.size()
    even = hvd.add_process_set(range(0, size, 2))
    odd = hvd.add_process_set(hvd.ProcessSet(range(1, size, 2)))
    mine, other = (even, odd) if rank % 2 == 0 else (odd, even)
    with pytest.raises(ValueError, match="is not in ProcessSet"):
        hvd.allreduce(torch.ones(1), process_set=other)
    with pytest.raises(ValueError, match="already"):
        hvd.add_process_set(even.ranks)
    with pytest.raises(ValueError, match="root_rank must be"):
        hvd.broadcast(torch.ones(1), other.ranks[0], process_set=mine)
    value = torch.tensor([float(rank)])
    results = (
        mine.rank(),
        mine.size(),
        hvd.allreduce(value, op=hvd.Sum, process_set=mine).item(),
        hvd.allgather(value, process_set=mine).tolist(),
        hvd.broadcast(value, mine.ranks[-1], process_set=mine).item(),
        hvd.alltoall(torch.arange(float(mine.size())), process_set=mine).tolist(),
        hvd.broadcast_object(rank, mine.ranks[0], process_set=mine),
        hvd.allgather_object(rank, process_set=mine),
    )
    hvd.barrier(mine)
    removed = [hvd.remove_process_set(each) for each in (even, odd, even, hvd.global_process_set)]
    assert removed == [True, True, False, False]
    assert mine.size() is None
    return results


def test_each_set_has_its_own_results(pool):
    for rank, results in enumerate(pool.run(within_sets, size=4)):
        place, ranks = rank // 2, [rank % 2, rank % 2 + 2]
        values = [float(each) for each in ranks]
        assert results == (place, 2, sum(values), values, values[1], [float(place)] * 2, ranks[0], ranks)


def overlapping():
    """Workers come to be in different numbers of sets, with optimizers of their own in between."""
    found = []
    for ranks in ([0, 1], [1, 2], [0, 2], [0, 1, 2], [0, 2]):
        if any(ranks == each.ranks for each, _ in found):
            hvd.remove_process_set(next(each for each, _ in found if each.ranks == ranks))
        chosen = hvd.add_process_set(ranks)
        total = 0.0
        if chosen.included():
            parameter = torch.nn.Parameter(torch.zeros(1))
            optimizer = hvd.DistributedOptimizer(torch.optim.SGD([parameter], lr=1.0), op=hvd.Sum, process_set=chosen)
            parameter.sum().backward()
            optimizer.step()
            total = float(hvd.allreduce(-parameter.detach(), op=hvd.Average, process_set=chosen))
        found.append((chosen, total))
    return [total for _, total in found]


def test_workers_may_be_in_different_numbers_of_sets(pool):
    results = pool.run(overlapping, size=4, env={"HORA_TIMEOUT_SECONDS": "5"})
    sets = [[0, 1], [1, 2], [0, 2], [0, 1, 2], [0, 2]]
    assert results == [[len(ranks) if rank in ranks else 0.0 for ranks in sets] for rank in range(4)]


def late_in_a_set():
    """A collective in a set waits as long as others do, not as long as its members may take to connect."""
    with mock.patch.object(process_sets, "_CONNECTING", timedelta(seconds=1)):
        chosen = hvd.add_process_set([0, 1])
    if hvd.rank() == 2:
        return 2.0
    if hvd.rank() == 1:
        time.sleep(2.5)
    value = torch.ones(1)
    dist.all_reduce(value, group=process_sets.members_of(chosen).group)
    return float(value)


def test_a_set_waits_for_a_late_worker(pool):
    assert pool.run(late_in_a_set, size=3) == [2.0] * 3


def sets_at_the_start():
    first, rest = hvd.ProcessSet([0]), hvd.ProcessSet([1, 2])
    hvd.init(process_sets=[first, rest])
    numbers = first.process_set_id, rest.process_set_id, hvd.global_process_set.ranks
    with pytest.raises(hvd.HorovodInternalError, match="called different operations"):
        hvd.add_process_set([0, 1] if hvd.rank() else [0, 2])
    return numbers


def test_init_makes_sets(pool):
    assert pool.run(sets_at_the_start, size=3, init=False) == [(1, 2, [0, 1, 2])] * 3


def train_within_a_set():
    pair = hvd.add_process_set([0, 2])
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1, bias=False)
    optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=1.0), process_set=pair)
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.full((1, 2), hvd.rank() + 1.0)).sum().backward()
        optimizer.step()
    return model.weight.grad.tolist()


def test_an_optimizer_within_a_set(pool):
    # Workers 0 and 2 average 1 and 3; worker 1 trains by itself.
    assert pool.run(train_within_a_set, size=3) == [[[2.0, 2.0]]] * 3
