"""Training loops that differ in what the optimizer is, or becomes after it was wrapped; see `cases.py`."""

from __future__ import annotations

import copy

import torch
from loops import data, network, own, record, sgd, weights
from torch.nn import functional as F

import hora.torch as hvd


def groups_added(how):
    model = network()
    optimizer = hvd.DistributedOptimizer(
        torch.optim.SGD([{"params": model[0].parameters(), "lr": 0.2}, {"params": [model[2].weight]}], lr=0.1)
    )
    for step, (x, y) in enumerate(data(4)):
        if step == 2 and how == "method":
            optimizer.add_param_group({"params": model[4].parameters(), "lr": 0.3})
            optimizer.add_param_group({"params": model[2].bias})
        if step == 2 and how == "list":
            optimizer.param_groups[1]["params"] += [*model[4].parameters(), model[2].bias]
        model.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        seen = record(model)
        yield {name: grad for name, grad in seen.items() if name in ("0.0.weight", "0.0.bias", "0.2.weight")}
        optimizer.step()
        if step >= 2:
            yield record(model)
        yield weights(model)


def groups_replaced():
    """The optimizer gets other groups: new dictionaries, a part of the parameters, another network's."""
    model, other = network(), network()
    optimizer = sgd(model)
    for step, (x, y) in enumerate(data(5)):
        options = {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}
        if step == 1:
            optimizer.param_groups = [{**options, "params": list(model.parameters())}]
        if step == 2:
            optimizer.param_groups = [{**options, "params": list(model[2:].parameters())}]
        if step == 3:
            optimizer.param_groups.append({**options, "params": list(other.parameters())})
        for each in (model, other):
            each.zero_grad()
        F.mse_loss(model(own(x)) + other(own(x)), own(y)).backward()
        yield record(model)
        optimizer.step()
        yield {**weights(model), **{f"other {name}": value for name, value in weights(other).items()}}


class Twice(torch.optim.SGD):
    """A step inside a step, so that torch's hooks fire twice."""

    def step(self, closure=None):
        return super().step(closure)


def step_inside_a_step():
    model = network()
    plain = Twice(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(plain, 0.9)
    optimizer = hvd.DistributedOptimizer(plain, backward_passes_per_step=2)
    assert optimizer is plain
    assert isinstance(optimizer, Twice)
    for x, y in data(3):
        x, y = own(x, y)
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
        scheduler.step()
        yield record(model)


class Lookahead(torch.optim.Optimizer):
    """Wraps an optimizer, and does not call its base's constructor."""

    def __init__(self, inner):
        self.inner, self.param_groups, self.state, self.steps = inner, inner.param_groups, inner.state, 0
        self.slow = [p.detach().clone() for group in inner.param_groups for p in group["params"]]

    def step(self, closure=None):
        loss = self.inner.step(closure)
        self.steps += 1
        parameters = [p for group in self.param_groups for p in group["params"]]
        for p, slow in zip(parameters if self.steps % 2 == 0 else [], self.slow, strict=False):
            p.data.copy_(slow.add_(p.data - slow, alpha=0.5))
        return loss


def an_optimizer_around_another():
    model = network()
    optimizer = hvd.DistributedOptimizer(
        Lookahead(torch.optim.Adam(model.parameters(), lr=0.1)), backward_passes_per_step=2
    )
    for x, y in data(4):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        optimizer.step()
        yield weights(model)


def wrapped_again():
    """A new optimizer for each phase over the same parameters, the earlier ones still there."""
    model = network()
    kept = []
    for x, y in data(3):
        optimizer = sgd(model)
        assert hvd.DistributedOptimizer(optimizer) is optimizer
        kept.append(optimizer)
        F.mse_loss(model(own(x)), own(y)).backward()
        yield record(model)
        optimizer.step()
        optimizer.zero_grad()


def shared_parameters():
    """Two optimizers step one part of the network each, and share the middle."""
    model = network()
    parameters = list(model.parameters())
    one = hvd.DistributedOptimizer(torch.optim.SGD(parameters[:4], lr=0.1))
    two = hvd.DistributedOptimizer(torch.optim.SGD(parameters[2:], lr=0.1))
    for step, (x, y) in enumerate(data(4)):
        model.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        yield record(model)
        (one if step % 2 else two).step()


def moved():
    """The network changes its dtype after its optimizer was wrapped."""
    model = network().float()
    optimizer = sgd(model)
    for step, (x, y) in enumerate(data(3)):
        if step == 1:
            model.double()
        optimizer.zero_grad()
        dtype = model[0].weight.dtype
        F.mse_loss(model(own(x).to(dtype)), own(y).to(dtype)).backward()
        yield record(model)
        optimizer.step()


def halved():
    """The network goes over to bfloat16 after its optimizer was wrapped."""
    model = network().float()
    optimizer = sgd(model)
    for step, (x, y) in enumerate(data(3)):
        if step == 1:
            model.bfloat16()
        optimizer.zero_grad()
        dtype = model[0].weight.dtype
        F.mse_loss(model(own(x).to(dtype)), own(y).to(dtype)).backward()
        yield record(model)
        optimizer.step()


def state_loaded():
    """A checkpoint of the wrapped optimizer goes into a plain one, that is wrapped then, and back."""
    model = network()
    optimizer = sgd(model)
    for step, (x, y) in enumerate(data(4)):
        if step == 2:
            state = optimizer.state_dict()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
            optimizer.load_state_dict(state)
            optimizer = hvd.DistributedOptimizer(optimizer)
        if step == 3:
            optimizer.load_state_dict(optimizer.state_dict())
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        yield record(model)
        optimizer.step()
        yield weights(model)


def moving_average():
    model = network()
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    optimizer = sgd(model)
    scheduler = torch.optim.swa_utils.SWALR(optimizer, swa_lr=0.05, anneal_epochs=2)
    for x, y in data(4):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        optimizer.step()
        scheduler.step()
        average.update_parameters(model)
        yield weights(average)


def variants(**options):
    model = network()
    optimizer = hvd.DistributedOptimizer(torch.optim.AdamW(model.parameters(), lr=0.01, **options))
    for x, y in data(3):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        optimizer.step()
        yield weights(model)


def copied():
    """Network and optimizer are copied together; the copy is wrapped, and both go on."""
    model = network()
    optimizer = sgd(model)
    for step, (x, y) in enumerate(data(4)):
        if step == 2:
            twin, plain = copy.deepcopy((model, optimizer))
            of_twin = hvd.DistributedOptimizer(plain)
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        yield record(model)
        optimizer.step()
        if step >= 2:
            of_twin.zero_grad()
            F.mse_loss(twin(own(x)), own(y)).backward()
            of_twin.step()
            yield {**record(twin), **weights(twin)}


# One of each kind: layer-wise trust (lamb, lars, novograd), signs (lion), preconditioners of matrices (shampoo), a rate
# that is found on the way (prodigy), weights that are two at once (schedulefreeadamw), one with differences (adan).
OF_THE_LIBRARY = ("lamb", "lars", "novograd", "lion", "shampoo", "prodigy", "schedulefreeadamw", "adan")


def of_the_library():
    """Optimizers that nobody here wrote; some read all gradients before they change a weight (LAMB's norm)."""
    import pytorch_optimizer

    for name in OF_THE_LIBRARY:
        model = network()
        optimizer = hvd.DistributedOptimizer(pytorch_optimizer.load_optimizer(name)(model.parameters(), lr=0.01))
        for x, y in data(3):
            optimizer.zero_grad()
            F.mse_loss(model(own(x)), own(y)).backward()
            optimizer.step()
            yield weights(model)
