"""`DistributedOptimizer(op=hvd.Adasum)` combines the workers' steps as the formula says."""

from __future__ import annotations

import copy

import pytest
import torch
from loops import data, network, own
from torch.nn import functional as F

import hora.torch as hvd


def pairwise(a, b):
    """The formula of Maleki et al. 2020, for two."""
    dot, aa, bb = a.flatten() @ b.flatten(), a.flatten() @ a.flatten(), b.flatten() @ b.flatten()
    if not (aa and bb):
        return a + b
    return (1 - dot / (2 * aa)) * a + (1 - dot / (2 * bb)) * b


def adasum(tensors):
    while len(tensors) > 1:
        tensors = [
            pairwise(*tensors[i : i + 2]) if i + 1 < len(tensors) else tensors[i] for i in range(0, len(tensors), 2)
        ]
    return tensors[0]


def backwards(model, x, y, count):
    for _ in range(count):
        F.mse_loss(model(x), y).backward()


def train(make, passes, steps=3):
    """Return how far the weights are from those of the formula, with each worker's optimizer kept by hand."""
    torch.set_default_dtype(torch.float64)
    try:
        model = network()
        by_hand = [copy.deepcopy(model) for _ in range(hvd.size())]
        optimizers = [make(each.parameters()) for each in by_hand]
        optimizer = hvd.DistributedOptimizer(
            make(model.parameters()), model.named_parameters(), op=hvd.Adasum, backward_passes_per_step=passes
        )
        for x, y in data(steps):
            optimizer.zero_grad()
            backwards(model, own(x), own(y), passes)
            optimizer.step()
            start = [p.detach().clone() for p in by_hand[0].parameters()]
            for rank, (each, its) in enumerate(zip(by_hand, optimizers, strict=True)):
                its.zero_grad()
                low, high = len(x) * rank // hvd.size(), len(x) * (rank + 1) // hvd.size()
                backwards(each, x[low:high], y[low:high], passes)
                its.step()
            with torch.no_grad():
                for before, *after in zip(start, *(each.parameters() for each in by_hand), strict=True):
                    combined = before + adasum([p - before for p in after])
                    for p in after:
                        p.copy_(combined)
        pairs = zip(model.parameters(), by_hand[0].parameters(), strict=True)
        return max(float((a - b).abs().max()) for a, b in pairs)
    finally:
        torch.set_default_dtype(torch.float32)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.01)


@pytest.mark.parametrize(("make", "passes", "size"), [(sgd, 1, 2), (adam, 2, 3)], ids=["SGD", "Adam, two backwards"])
def test_weights_are_those_of_the_formula(pool, make, passes, size):
    assert max(pool.run(train, make, passes, size=size)) < 1e-12


def join_early():
    model = network()
    optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), op=hvd.Adasum)
    if hvd.rank() == 0:
        optimizer.step()
    hvd.join()


def test_a_worker_that_has_joined_has_no_step_to_combine(pool):
    waiting, _ = pool.outcomes(join_early, size=2)
    assert isinstance(waiting.error, hvd.HorovodInternalError)
    assert "worker 1 joined" in str(waiting.error)
