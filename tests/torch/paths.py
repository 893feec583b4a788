"""Every path of collectives, as a function of the round that checks what it returns; all workers call it."""

from __future__ import annotations

from functools import cache

import torch
from loops import data, network, own
from torch.nn import functional as F

import hora.torch as hvd
from hora.torch.world import current


def _ones(index, rows=3):
    """Of other sizes from round to round; some are larger than what a socket takes at once."""
    return torch.ones(rows, 1 << (index * 5 % 17))


def allreduce(index):
    assert (hvd.allreduce(_ones(index), op=hvd.Sum, name="a") == hvd.size()).all()


def grouped(index):
    sums = hvd.grouped_allreduce([_ones(index), torch.ones(2, dtype=torch.int64)], op=hvd.Sum, name="g")
    assert all((found == hvd.size()).all() for found in sums)


def allgather(index):
    rows = [(index + rank) % 3 for rank in range(hvd.size())]
    assert len(hvd.allgather(_ones(index, rows[hvd.rank()]), name="a")) == sum(rows)


def broadcast(index):
    root = index % hvd.size()
    assert (hvd.broadcast(_ones(index) * hvd.rank(), root, name="b") == root).all()


def alltoall(index):
    size, rank = hvd.size(), hvd.rank()
    splits = [(index + rank + other) % 3 for other in range(size)]
    found, received = hvd.alltoall(_ones(index, sum(splits)) * rank, torch.tensor(splits), name="t")
    assert received.tolist() == [(index + other + rank) % 3 for other in range(size)]
    assert found[:, 0].tolist() == [float(other) for other in range(size) for _ in range(received[other])]


def reducescatter(index):
    size = hvd.size()
    found = hvd.reducescatter(_ones(index, size + 1), op=hvd.Sum, name="s")
    assert len(found) == 1 + (hvd.rank() == 0)
    assert (found == size).all()


def sparse(index):
    row = torch.tensor([[hvd.rank()]])
    tensor = torch.sparse_coo_tensor(row, torch.ones(1, 1 << index % 8), (hvd.size(), 1 << index % 8))
    assert (hvd.sparse_allreduce_async(tensor, name="p", op=hvd.Sum)().to_dense() == 1).all()


def objects(index):
    root = index % hvd.size()
    assert hvd.broadcast_object([root, index] if hvd.rank() == root else None, root) == [root, index]
    assert hvd.allgather_object("x" * hvd.rank()) == ["x" * rank for rank in range(hvd.size())]


def join(index):
    """Worker r has r batches more than worker 0."""
    for step in range(1 + (hvd.rank() + index) % hvd.size()):
        hvd.allreduce(torch.ones(2), name=f"j{step}")
    assert hvd.join() == next(rank for rank in range(hvd.size()) if (rank + index) % hvd.size() == hvd.size() - 1)


def barrier(index):
    hvd.barrier()


def process_sets(index):
    size = hvd.size()
    chosen = hvd.add_process_set([index % size, (index + 1) % size] if size > 2 else [index % 2])
    if chosen.included():
        assert float(hvd.allreduce(torch.ones(1), op=hvd.Sum, process_set=chosen)) == chosen.size()
    assert hvd.remove_process_set(chosen)


@cache
def _training(operations):
    model = network()
    return model, hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.01), groups=3), data(1)[0]


def buckets(index):
    model, optimizer, (x, y) = _training(current().operations)
    optimizer.zero_grad()
    F.mse_loss(model(own(x)), own(y)).backward()
    mean = model[0].weight.grad.mean().reshape(1)
    optimizer.step()
    if index % 20 == 0:
        everyones = hvd.allgather(mean)
        assert (everyones == everyones[0]).all()


PATHS = (
    allreduce,
    grouped,
    allgather,
    broadcast,
    alltoall,
    reducescatter,
    sparse,
    objects,
    join,
    barrier,
    process_sets,
    buckets,
)
