"""Training loops that differ in what backward does; see `cases.py`."""

from __future__ import annotations

import torch
from loops import BATCH, data, network, own, record, sgd, weights
from torch import nn
from torch.nn import functional as F

import hora.torch as hvd


def plain(**options):
    model = network()
    optimizer = sgd(model, **options)
    for x, y in data(3):
        x, y = own(x, y)
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        yield record(model)
        optimizer.step()


def many_buckets():
    yield from plain(groups=3)


def listed_groups():
    model = network()
    parameters = list(model.parameters())
    optimizer = sgd(model, groups=[parameters[:2], parameters[3:5]])
    for x, y in data(2):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        yield record(model)
        optimizer.step()


def predivide():
    yield from plain(gradient_predivide_factor=2.0)


def uneven():
    model = network()
    optimizer = sgd(model)
    for x, y in data(3, batch=7):
        x, y = own(x, y)
        weight = hvd.size() * len(x) / 7
        optimizer.zero_grad()
        (F.mse_loss(model(x), y) * weight).backward()
        yield record(model)
        optimizer.step()


def zeroing(set_to_none, by_model):
    model = network()
    optimizer = sgd(model)
    for x, y in data(4):
        (model if by_model else optimizer).zero_grad(set_to_none=set_to_none)
        yield record(model)
        F.mse_loss(model(own(x)), own(y)).backward()
        yield record(model)
        optimizer.step()


def two_backwards():
    model = network()
    optimizer = sgd(model)
    for x, y in data(3):
        x, y = own(x, y)
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        yield record(model)
        model(x).abs().mean().backward()
        yield record(model)
        optimizer.step()


def retained_graph():
    model = network()
    optimizer = sgd(model)
    for x, y in data(2):
        optimizer.zero_grad()
        output = model(own(x))
        F.mse_loss(output, own(y)).backward(retain_graph=True)
        output.square().mean().backward()
        yield record(model)
        optimizer.step()


def some_parameters_only():
    model = network()
    optimizer = sgd(model)
    for x, y in data(2):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward(inputs=[model[0].weight, model[4].bias])
        yield record(model)
        optimizer.step()


def gan():
    torch.manual_seed(0)
    generator, critic = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6)), network()
    of_generator = hvd.DistributedOptimizer(torch.optim.Adam(generator.parameters(), lr=1e-2))
    of_critic = hvd.DistributedOptimizer(torch.optim.Adam(critic.parameters(), lr=1e-2))
    for real, _ in data(3):
        noise = own(torch.randn(BATCH, 4))
        real = own(real)
        of_critic.zero_grad()
        F.softplus(-critic(real)).mean().backward()
        fake = generator(noise)
        F.softplus(critic(fake.detach())).mean().backward()
        yield record(generator, critic)
        of_critic.step()
        of_generator.zero_grad()
        # This one fills the critic's gradients, too.
        F.softplus(-critic(fake)).mean().backward()
        yield record(generator, critic)
        of_generator.step()


def gan_compressed():
    """The generator's pass falls into the critic's window, and is zeroed before the critic's own two backwards."""
    torch.manual_seed(0)
    generator, critic = nn.Linear(4, 6), network()
    compression = hvd.Compression.fp16
    of_generator = sgd(generator, compression=compression)
    of_critic = sgd(critic, compression=compression, backward_passes_per_step=2)
    for step, (real, _) in enumerate(data(4)):
        noise, real = own(torch.randn(BATCH, 4)), own(real)
        if step % 2:
            critic.zero_grad()
        else:
            of_critic.zero_grad(set_to_none=False)
        F.softplus(-critic(real)).mean().backward()
        F.softplus(critic(generator(noise).detach())).mean().backward()
        yield record(critic)
        of_critic.step()
        of_generator.zero_grad()
        F.softplus(-critic(generator(noise))).mean().backward()
        yield record(generator)
        of_generator.step()


def gan_with_a_frozen_critic():
    torch.manual_seed(0)
    generator, critic = nn.Linear(4, 6), network()
    of_generator, of_critic = sgd(generator), sgd(critic)
    for real, _ in data(3):
        noise, real = own(torch.randn(BATCH, 4)), own(real)
        critic.requires_grad_(True)
        of_critic.zero_grad()
        (critic(generator(noise).detach()).mean() - critic(real).mean()).backward()
        yield record(generator, critic)
        of_critic.step()
        critic.requires_grad_(False)
        of_generator.zero_grad()
        (-critic(generator(noise)).mean()).backward()
        yield record(generator, critic)
        of_generator.step()


def gradient_penalty():
    critic = network()
    optimizer = sgd(critic)
    for x, _ in data(3):
        x = own(x).requires_grad_()
        optimizer.zero_grad()
        output = critic(x)
        slope = torch.autograd.grad(output.sum(), x, create_graph=True)[0]
        (output.mean() + 10 * (slope.norm(dim=1) - 1).square().mean()).backward()
        yield record(critic)
        optimizer.step()


def create_graph():
    model = network()
    optimizer = sgd(model)
    for x, y in data(2):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward(create_graph=True)
        assert all(p.grad.requires_grad for p in model.parameters())
        yield record(model)
        optimizer.step()


class Branches(nn.Module):
    """A branch that only samples with a positive first feature take, and one that none takes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.branch, self.never = nn.Linear(6, 3), nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        taken = x[:, 0] > 0
        output = self.trunk(x)
        if taken.any():
            output = output + torch.where(taken.unsqueeze(1), self.branch(x), 0.0)
        return output


def unused(set_to_none):
    """The branch is used on worker 0 alone, then on all, then on none."""
    model = Branches()
    optimizer = sgd(model)
    for step, (x, y) in enumerate(data(4)):
        x[:, 0] = -1.0
        x[: {0: 2, 1: BATCH, 2: 0, 3: 1}[step], 0] = 1.0
        optimizer.zero_grad(set_to_none=set_to_none)
        F.mse_loss(model(own(x)), own(y)).backward()
        yield record(model)
        optimizer.step()
        yield weights(model)


def unfreezing():
    model = network()
    model[0].requires_grad_(False)
    model[2].bias.requires_grad_(False)
    optimizer = sgd(model)
    for step, (x, y) in enumerate(data(6)):
        if step == 2:
            model[0].requires_grad_(True)
        if step == 3:
            model[4].requires_grad_(False)
        if step == 4:
            model.requires_grad_(False)
            model[2].bias.requires_grad_(True)
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        yield record(model)
        optimizer.step()


def unfreezing_in_a_window():
    model = network()
    model[0].requires_grad_(False)
    optimizer = sgd(model, backward_passes_per_step=2)
    for step, (x, y) in enumerate(data(4)):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        if step == 1:
            model[0].requires_grad_(True)
        F.mse_loss(model(own(x)), own(y)).backward()
        yield record(model)
        optimizer.step()


def all_frozen_at_first():
    model = network().requires_grad_(False)
    optimizer = sgd(model)
    model[4].requires_grad_(True)
    for x, y in data(2):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        yield record(model)
        optimizer.step()


def two_networks_in_either_order():
    """One backward through two networks with an optimizer each; the order of their gradients differs by worker."""
    torch.manual_seed(0)
    networks = network(), network()
    for each in networks:
        each.unused = nn.Parameter(torch.ones(2))
    optimizers = [sgd(each) for each in networks]
    for x, y in data(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        order = networks if hvd.rank() % 2 else networks[::-1]
        sum(F.mse_loss(each(own(x)), own(y)) for each in order).backward()
        yield record(*networks)
        for optimizer in optimizers:
            optimizer.step()
