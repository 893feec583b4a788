"""What the training loops of these tests share: global batches, this worker's slices of them, and what is recorded."""

from __future__ import annotations

import torch
from torch import nn

import hora.torch as hvd

BATCH = 12


def own(*tensors):
    """Return this worker's slice of each tensor."""
    rank, size = hvd.rank(), hvd.size()
    slices = tuple(tensor[len(tensor) * rank // size : len(tensor) * (rank + 1) // size] for tensor in tensors)
    return slices if len(slices) > 1 else slices[0]


def record(*modules):
    """Return the gradients of modules by name."""
    return {
        f"{number}.{name}": None if parameter.grad is None else parameter.grad.detach().to_dense().clone()
        for number, module in enumerate(modules)
        for name, parameter in module.named_parameters()
    }


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def data(steps, features=6, batch=BATCH):
    torch.manual_seed(1)
    return [(torch.randn(batch, features), torch.randn(batch, 3)) for _ in range(steps)]


def network(features=6, width=20):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(features, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))


def sgd(model, **options):
    return hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), **options)
