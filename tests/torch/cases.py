"""Training loops that must make the same gradients on any number of workers as on one.

Each case draws global batches, gives every worker its slice, and yields what `.grad` holds wherever a script might read
it. The loops are written as scripts write them; `record` and `own` are all that is added.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

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


def all_frozen_at_first():
    model = network().requires_grad_(False)
    optimizer = sgd(model)
    model[4].requires_grad_(True)
    for x, y in data(2):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        yield record(model)
        optimizer.step()


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


CASES = {
    "plain": plain,
    "three buckets": many_buckets,
    "listed groups": listed_groups,
    "predivide": predivide,
    "uneven": uneven,
    "zero_grad to None by the optimizer": lambda: zeroing(True, False),
    "zero_grad to zero by the optimizer": lambda: zeroing(False, False),
    "zero_grad to None by the model": lambda: zeroing(True, True),
    "zero_grad to zero by the model": lambda: zeroing(False, True),
    "two backwards": two_backwards,
    "retained graph": retained_graph,
    "backward(inputs=)": some_parameters_only,
    "GAN": gan,
    "GAN with a frozen critic": gan_with_a_frozen_critic,
    "gradient penalty": gradient_penalty,
    "create_graph": create_graph,
    "unused": lambda: unused(True),
    "unused, zeroed": lambda: unused(False),
    "unfreezing": unfreezing,
    "all frozen at first": all_frozen_at_first,
    "tied": tied,
    "a group added": lambda: groups_added("method"),
    "parameters appended": lambda: groups_added("list"),
    "channels_last": channels_last,
    "LBFGS": lambda: lbfgs(None, False),
    "LBFGS, float": lambda: lbfgs(None, True),
    "LBFGS, strong_wolfe": lambda: lbfgs("strong_wolfe", False),
    "closure": closure_by_keyword,
    "step inside a step": step_inside_a_step,
    "GradScaler": scaler,
    "clipping": clipping,
    "edits": edits,
    "kept gradients": kept_gradients,
    "set by hand": set_by_hand,
    "accumulation": lambda: accumulation(False),
    "accumulation, declared": lambda: accumulation(True),
    "window changes": window_changes,
    "checkpoint": lambda: checkpointing(False, False),
    "checkpoint, nested": lambda: checkpointing(False, True),
    "checkpoint, reentrant": lambda: checkpointing(True, False),
    "checkpoint, reentrant, nested": lambda: checkpointing(True, True),
    "all checkpointed": lambda: everything_checkpointed(False),
    "all checkpointed, reentrant": lambda: everything_checkpointed(True),
    "dtypes": dtypes,
    "sparse": lambda: sparse("together"),
    "sparse, later": lambda: sparse("together", lookers=(0, 2, BATCH)),
    "sparse as dense": lambda: sparse("together", as_dense=True),
    "SparseAdam": lambda: sparse("apart"),
    "compiled, eager": lambda: compiled("eager"),
    "compiled, aot_eager": lambda: compiled("aot_eager"),
    "wrapped again": wrapped_again,
    "shared parameters": shared_parameters,
    "moved": moved,
    "failed backward": failed_backward,
    "steps without gradients": steps_without_gradients,
}

# Where less than float64 is at work by the nature of the case.
TOLERANCES = {"GradScaler": 2e-5, "dtypes": 2e-2, "moved": 2e-6}


def run(name):
    """Return all that a case yields."""
    torch.set_default_dtype(torch.float64)
    try:
        return list(CASES[name]())
    finally:
        torch.set_default_dtype(torch.float32)
