"""Training loops that differ in the network: what it shares or recomputes, and its dtypes; see `cases.py`."""

from __future__ import annotations

import torch
from loops import BATCH, data, network, own, record, sgd
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import hora.torch as hvd


def tied():
    torch.manual_seed(0)
    model = nn.ModuleDict({"embed": nn.Embedding(10, 6), "body": nn.Linear(6, 6), "head": nn.Linear(6, 10, bias=False)})
    model["head"].weight = model["embed"].weight
    optimizer = sgd(model)
    for _ in range(3):
        tokens = torch.randint(10, (BATCH,))
        optimizer.zero_grad()
        F.cross_entropy(model["head"](model["body"](model["embed"](own(tokens)))), own(tokens.flip(0))).backward()
        yield record(model)
        optimizer.step()


def channels_last():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).to(memory_format=torch.channels_last)
    optimizer = sgd(model)
    for _ in range(2):
        x = torch.randn(BATCH, 3, 7, 7).contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad()
        model(own(x)).square().mean().backward()
        assert model[0].weight.grad.stride() == model[0].weight.stride()
        yield record(model)
        optimizer.step()


class Checkpointed(nn.Module):
    """Blocks under checkpointing, one of them used twice; one may hold another checkpoint."""

    def __init__(self, reentrant, nested):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.block, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.reentrant, self.nested = reentrant, nested

    def inner(self, x):
        return torch.tanh(self.block(x))

    def outer(self, x):
        if self.nested:
            x = checkpoint(self.inner, x, use_reentrant=self.reentrant)
        return torch.tanh(self.block(x))

    def forward(self, x):
        x = torch.tanh(self.first(x))
        x = checkpoint(self.outer, x, use_reentrant=self.reentrant)
        x = checkpoint(self.outer, x * 2, use_reentrant=self.reentrant)
        return self.last(x)


def checkpointing(reentrant, nested):
    model = Checkpointed(reentrant, nested)
    optimizer = sgd(model, groups=4)
    for x, y in data(3):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        yield record(model)
        optimizer.step()


def everything_checkpointed(reentrant):
    """No parameter outside of the checkpoint, and two of them inside one backward."""
    model = network()
    optimizer = sgd(model)
    for x, y in data(2):
        x, y = own(x.requires_grad_(), y)
        optimizer.zero_grad()
        halves = [checkpoint(model, half, use_reentrant=reentrant) for half in (x, -x)]
        F.mse_loss(halves[0] + halves[1], y).backward()
        yield record(model)
        optimizer.step()


def dtypes():
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(6, 5).double(), nn.Linear(5, 4).float(), nn.Linear(4, 3).bfloat16()])
    model.empty = nn.Parameter(torch.empty(0, 4))
    model.scalar = nn.Parameter(torch.tensor(2.0))
    model.phase = nn.Parameter(torch.randn(4, dtype=torch.complex64))
    optimizer = sgd(model)
    for x, _ in data(2):
        optimizer.zero_grad()
        hidden = model[1](model[0](own(x).double()).float()) * model.scalar + model.empty.sum()
        output = model[2]((hidden * model.phase).abs().bfloat16()).float()
        output.square().mean().backward()
        yield record(model)
        optimizer.step()


def sparse(kind, as_dense=False, lookers=(BATCH, BATCH // 4, 0, BATCH)):
    """The first samples look at the table, at each step so many: all, those of worker 0, none."""
    torch.manual_seed(0)
    table, head = nn.Embedding(20, 4, sparse=True), nn.Linear(4, 3)
    if kind == "together":
        optimizers = [
            hvd.DistributedOptimizer(
                torch.optim.SGD([*table.parameters(), *head.parameters()], lr=0.1), sparse_as_dense=as_dense
            )
        ]
    else:
        optimizers = [hvd.DistributedOptimizer(torch.optim.SparseAdam(table.parameters(), lr=0.1)), sgd(head)]
    for number in lookers:
        tokens = own(torch.randint(20, (BATCH, 2)))
        for optimizer in optimizers:
            optimizer.zero_grad()
        looking = own(torch.arange(BATCH) < number)
        vectors = torch.zeros(len(tokens), 4)
        if looking.any():
            vectors[looking] = table(tokens[looking]).mean(1)
        head(vectors).square().mean().backward()
        yield {**record(table), **record(head)}
        for optimizer in optimizers:
            optimizer.step()
        yield {"table": table.weight.detach().clone()}


def compiled(backend):
    torch._dynamo.reset()
    model = network()
    optimizer = sgd(model)
    forward = torch.compile(model, backend=backend)
    for x, y in data(2):
        optimizer.zero_grad()
        F.mse_loss(forward(own(x)), own(y)).backward()
        yield record(model)
        optimizer.step()
