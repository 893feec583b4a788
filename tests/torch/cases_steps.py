"""Training loops that differ in what happens around the step; see `cases.py`."""

from __future__ import annotations

import torch
from loops import data, network, own, record, sgd, weights
from torch import nn
from torch.nn import functional as F

import hora.torch as hvd


def lbfgs(line_search, in_float):
    model = network()
    optimizer = hvd.DistributedOptimizer(
        torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=5, history_size=3, line_search_fn=line_search)
    )
    for x, y in data(3):
        x, y = own(x, y)

        def closure():
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)  # noqa: B023
            loss.backward()
            return loss.item() if in_float else loss

        loss = optimizer.step(closure)
        assert isinstance(loss, float) == in_float
        yield {"loss": torch.as_tensor(loss).detach(), **record(model)}
        yield weights(model)


def closure_by_keyword():
    model = network()
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    for x, y in data(3):
        x, y = own(x, y)

        def closure():
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)  # noqa: B023
            loss.backward()
            return loss

        yield {"loss": optimizer.step(closure=closure).detach()}
        scheduler.step()
        yield record(model)


def sharpness_aware():
    """SAM: a backward, weights moved uphill, another backward, a step of another optimizer from where they were."""
    model = network()
    optimizer = sgd(model)
    for x, y in data(3):
        x, y = own(x, y)
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        with torch.no_grad():
            norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
            moves = [0.05 * p.grad / norm for p in model.parameters()]
            for p, move in zip(model.parameters(), moves, strict=True):
                p.add_(move)
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        with torch.no_grad():
            for p, move in zip(model.parameters(), moves, strict=True):
                p.sub_(move)
        yield record(model)
        optimizer.step()


def scaler():
    model = network().float()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    for step, (x, y) in enumerate(data(5)):
        if step in (1, 3):
            x[1, 2] = float("inf")  # on worker 0 alone
        x, y = own(x.float(), y.float())
        optimizer.zero_grad()
        scaler.scale(F.mse_loss(model(x), y)).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if step not in (1, 3):
            yield record(model)
        scaler.step(optimizer)
        scaler.update()
        yield {"scale": torch.tensor(scaler.get_scale()), **weights(model)}


def clipping():
    model = network()
    optimizer = sgd(model)
    for x, y in data(3):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        yield {"norm": norm, **record(model)}
        optimizer.step()
        yield weights(model)


def edits():
    """The gradient is edited in place, replaced, and moved to another storage; then backward goes on with it."""
    model = network()
    optimizer = sgd(model)
    for x, y in data(3):
        x, y = own(x, y)
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        model[0].weight.grad.mul_(0.5)
        model[0].bias.grad = model[0].bias.grad * 2
        model[2].weight.grad.data = model[2].weight.grad.data - 0.1
        model[2].bias.grad = None
        model[4].weight.grad.data.add_(0.1)
        model[4].bias.grad.zero_()
        model(x).abs().mean().backward()
        yield record(model)
        optimizer.step()


def kept_gradients():
    """Gradients of several tasks are kept side by side, without copies, and combined by hand."""
    model = network()
    optimizer = sgd(model)
    for x, y in data(3):
        x, y = own(x, y)
        kept = []
        for task in range(3):
            optimizer.zero_grad()
            F.mse_loss(model(x)[:, task], y[:, task]).backward()
            kept.append([p.grad if task else p.grad.data for p in model.parameters()])
        yield {f"{task}.{i}": grad.clone() for task, grads in enumerate(kept) for i, grad in enumerate(grads)}
        for p, *grads in zip(model.parameters(), *kept, strict=True):
            p.grad = torch.stack(grads).sum(0)
        optimizer.step()
        yield weights(model)


def set_by_hand():
    model = network()
    optimizer = sgd(model)
    parameters = list(model.parameters())
    for x, y in data(3):
        loss = F.mse_loss(model(own(x)), own(y))
        for parameter, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = grad
        optimizer.step()
        yield record(model)
        yield weights(model)


def accumulation(declared, steps=5, window=2):
    """The last window is not full."""
    model = network()
    optimizer = sgd(model, backward_passes_per_step=window if declared else 1)
    optimizer.zero_grad()
    for index, (x, y) in enumerate(data(steps), 1):
        (F.mse_loss(model(own(x)), own(y)) / window).backward()
        if index % window == 0 or index == steps:
            if declared:
                optimizer.synchronize()
            yield record(model)
            optimizer.step()
            yield weights(model)
            optimizer.zero_grad()


def window_changes():
    model = network()
    optimizer = sgd(model)
    for step, (x, y) in enumerate(data(4)):
        x, y = own(x, y)
        optimizer.set_backward_passes_per_step(1 + step % 3)
        optimizer.zero_grad()
        for _ in range(3):
            F.mse_loss(model(x), y).backward()
        optimizer.synchronize()
        yield record(model)
        with optimizer.skip_synchronize():
            optimizer.step()


def views_kept():
    """Parts of gradients are kept over a step that zeroes them with set_to_none, and must not change."""
    model = network()
    optimizer = sgd(model)
    rows = []
    for x, y in data(4):
        optimizer.zero_grad(set_to_none=True)
        F.mse_loss(model(own(x)), own(y)).backward()
        rows.append(model[2].weight.grad[3:5])
        optimizer.step()
        yield {str(number): row.clone() for number, row in enumerate(rows)}


def failed_backward():
    """A backward fails half-way on all workers; the script goes on with the next batch."""
    model = network()
    optimizer = sgd(model, groups=6)

    def fail(gradient):
        raise ArithmeticError

    for step, (x, y) in enumerate(data(4)):
        optimizer.zero_grad()
        hidden = model[:2](own(x))
        if step == 1:
            hidden.register_hook(fail)
        try:
            F.mse_loss(model[2:](hidden), own(y)).backward()
        except ArithmeticError:
            continue
        yield record(model)
        optimizer.step()


def steps_without_gradients():
    model = network()
    optimizer = sgd(model)
    optimizer.step()
    for x, y in data(2):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        optimizer.step()
        optimizer.step()
        yield record(model)
