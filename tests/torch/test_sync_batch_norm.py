"""SyncBatchNorm on several workers against BatchNorm on one worker with the global batch."""

from __future__ import annotations

import pytest
import torch

import hora.torch as hvd

SHAPES = [(6, 3), (5, 3, 4), (4, 3, 2, 2)]


def batch(shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 1


def train(shape, momentum):
    whole = batch(shape)
    rank, size, rows = hvd.rank(), hvd.size(), len(whole)
    own = slice(rows * rank // size, rows * (rank + 1) // size)
    x = whole[own].clone().requires_grad_()
    norm = hvd.SyncBatchNorm(shape[1], momentum=momentum).double()
    (norm(x) * torch.arange(whole.numel()).view(shape)[own]).sum().backward()
    weight = hvd.allreduce(norm.weight.grad, op=hvd.Sum)
    norm.eval()
    return x.grad, weight, norm.running_mean, norm.running_var, norm(whole)[own].detach()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_batch_norm_of_the_global_batch(pool, shape):
    momentum = None if len(shape) == 3 else 0.1
    kind = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}[len(shape)]
    norm, x = kind(shape[1], momentum=momentum).double(), batch(shape).requires_grad_()
    (norm(x) * torch.arange(x.numel()).view(shape)).sum().backward()
    norm.eval()
    results = pool.run(train, shape, momentum, size=3)
    assert torch.allclose(torch.cat([result[0] for result in results]), x.grad)
    assert torch.allclose(torch.cat([result[4] for result in results]), norm(x))
    for _, weight, mean, variance, _ in results:
        assert torch.allclose(weight, norm.weight.grad)
        assert torch.allclose(mean, norm.running_mean)
        assert torch.allclose(variance, norm.running_var)
