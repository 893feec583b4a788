"""What the training loops of these tests share: global batches, this worker's slices of them, and what is recorded."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch import nn

import hora.torch as hvd
from hora.torch import gradients, layout, reducer

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


@contextmanager
def small_buckets(measured_step=reducer._MEASURED_STEP):
    """Let even these networks have several buckets, which are measured and cut in time after a step."""
    patches = (
        mock.patch.multiple(layout, DEFAULT_BYTES=1024, _SMALLEST_PIECE=1, _CLEARLY_SOONER=float("inf")),
        mock.patch.multiple(gradients, DEFAULT_BYTES=1024, _ONE_BUCKET_BYTES=0),
        mock.patch.object(reducer, "_MEASURED_STEP", measured_step),
    )
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield
