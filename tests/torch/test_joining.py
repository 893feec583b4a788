"""Workers that are out of data join, and count as zero in the gradients of those that are not."""

from __future__ import annotations

import os
import time

import pytest
import torch
from loops import network, small_buckets
from torch import nn
from torch.nn import functional as F

import hora.torch as hvd


def batches(rank, epoch):
    """Return a worker's own batches, of which each worker has another number."""
    generator = torch.Generator().manual_seed(100 * rank + epoch)
    count = (2 * rank + 5 * epoch) % 7
    return [(torch.randn(4, 6, generator=generator), torch.randn(4, 3, generator=generator)) for _ in range(count)]


def loss(model, x, y):
    return F.mse_loss(model(x), y)


def by_one_worker(make, size, epochs, divisor):
    """Train as the workers should: in each step the gradients of those that have data, over the number of all."""
    model = network().double()
    optimizer = make(model.parameters())
    for epoch in range(epochs):
        data = [batches(rank, epoch) for rank in range(size)]
        for step in range(max(map(len, data))):
            optimizer.zero_grad()
            for own in data:
                if step < len(own):
                    (loss(model, *(t.double() for t in own[step])) / divisor).backward()
            optimizer.step()
    return [p.detach() for p in model.parameters()]


def train(op, epochs=3, **options):
    def make(parameters):
        return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)

    size = hvd.size()
    expected = by_one_worker(make, size, epochs, size if op == hvd.Average else 1)
    model = network().double()
    with small_buckets(measured_step=3):
        optimizer = hvd.DistributedOptimizer(make(model.parameters()), op=op, **options)
        for epoch in range(epochs):
            for x, y in batches(hvd.rank(), epoch):
                optimizer.zero_grad()
                loss(model, x.double(), y.double()).backward()
                optimizer.step()
            last = hvd.join()
            hvd.broadcast_parameters(model.state_dict(), root_rank=last)
            hvd.broadcast_optimizer_state(optimizer, root_rank=last)
    return max(float((a - b).abs().max()) for a, b in zip(model.parameters(), expected, strict=True))


@pytest.mark.parametrize(
    "options", [{"op": 0}, {"op": 1}, {"op": 0, "gradient_predivide_factor": 2.0}], ids=["Average", "Sum", "predivide"]
)
def test_who_has_joined_counts_as_zero(pool, options):
    options = dict(options)
    op = options.pop("op")
    assert max(pool.run(run_with, op, options, size=3)) < 1e-12


def run_with(op, options):
    return train(op, **options)


def two_networks():
    """Two optimizers that step in turn, and one that never does; worker 1 has no data at all."""
    models = [network() for _ in range(3)]
    optimizers = [hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=1.0)) for model in models]
    before = [model[0].bias.detach().clone() for model in models]
    for _ in range(4 * (hvd.rank() == 0)):
        for model, optimizer in zip(models[:2], optimizers, strict=False):
            optimizer.zero_grad()
            model[0].bias.sum().backward()
            optimizer.step()
    assert hvd.join() == 0
    return [float((b - model[0].bias).mean()) for b, model in zip(before, models, strict=True)]


def test_optimizers_that_step_in_turn(pool):
    trained, idle = pool.run(two_networks, size=2)
    assert trained == pytest.approx([2.0, 2.0, 0.0])
    assert idle == [0.0, 0.0, 0.0]


def with_sparse_gradients():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Linear(4, 1))
    optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=1.0))
    before = model[0].weight.detach().clone()
    for _ in range(1 + 2 * hvd.rank()):
        optimizer.zero_grad()
        (model[0](torch.tensor([3])).sum() + 0 * model[1].weight.sum()).backward()
        optimizer.step()
    hvd.join()
    return float((before - model[0].weight)[3].mean())


def test_sparse_gradients(pool):
    assert pool.run(with_sparse_gradients, size=2) == pytest.approx([1.0, 2.0])


def with_a_closure():
    model = network()
    optimizer = hvd.DistributedOptimizer(torch.optim.LBFGS(model.parameters(), max_iter=2))
    x, y = torch.ones(4, 6), torch.ones(4, 3)

    def closure():
        optimizer.zero_grad()
        value = loss(model, x, y)
        value.backward()
        return value

    for _ in range(hvd.rank()):
        optimizer.step(closure)
    hvd.join()


def test_a_closure_cannot_go_on_without_a_worker(pool):
    start = time.monotonic()
    waiting, training = pool.outcomes(with_a_closure, size=2)
    assert "can take no part in a step with a closure" in str(training.error)
    assert isinstance(waiting.error, hvd.HorovodInternalError)
    assert time.monotonic() - start < 20


def die_after_join(victim):
    model = network()
    optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
    for _ in range(2 * hvd.rank()):
        loss(model, torch.ones(4, 6), torch.ones(4, 3)).backward()
        optimizer.step()
    if hvd.rank() == victim:
        os._exit(9)
    hvd.join()


def test_a_worker_that_dies_before_it_joins_is_an_error(pool):
    outcomes = pool.outcomes(die_after_join, 2, size=3, timeout=30)
    assert all(isinstance(outcome.error, hvd.HorovodInternalError) for outcome in outcomes[:2]), outcomes
