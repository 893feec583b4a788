"""SyncBatchNorm on several workers against BatchNorm on one worker with the global batch."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

import hora.torch as hvd
from hora.errors import HoraError

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


def with_a_last_batch_of_three(size):
    data = torch.arange(20.0, dtype=torch.float64).view(10, 2).square()
    loader = hvd.deal(DataLoader(data, batch_size=7)) if size > 1 else DataLoader(data, batch_size=7)
    norm = (hvd.SyncBatchNorm if size > 1 else torch.nn.BatchNorm1d)(2).double()
    for x in loader:
        norm(x)
    return norm.running_mean, norm.running_var


@pytest.mark.parametrize("size", [2, 3, 4])
def test_samples_that_a_worker_has_borrowed_are_not_counted_twice(pool, size):
    mean, variance = with_a_last_batch_of_three(1)
    for found in pool.run(with_a_last_batch_of_three, size, size=size):
        assert torch.allclose(found[0], mean)
        assert torch.allclose(found[1], variance)


def converted():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Sequential(torch.nn.BatchNorm1d(3, momentum=0.3)))
    network[1][0].eval()
    before = {**network.state_dict(keep_vars=True)}
    after = hvd.SyncBatchNorm.convert_sync_batchnorm(network)
    layer = after[1][0]
    kept = all(value is before[name] for name, value in after.state_dict(keep_vars=True).items())
    return type(layer) is hvd.SyncBatchNorm, layer.momentum, layer.training, kept, len(before)


def test_a_network_is_converted_with_its_tensors():
    assert converted() == (True, 0.3, False, True, 7)


def test_a_lazy_layer_cannot_be_converted():
    with pytest.raises(HoraError, match="LazyBatchNorm1d that does not know"):
        hvd.SyncBatchNorm.convert_sync_batchnorm(torch.nn.Sequential(torch.nn.LazyBatchNorm1d()))
