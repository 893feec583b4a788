"""After a broadcast all workers have what the root had, and the root has it still."""

from __future__ import annotations

import copy
import io
from collections import OrderedDict

import pytest
import torch
from torch import nn

import hora.torch as hvd
from hora.errors import HoraError


def build(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.LazyLinear(4))
    model(torch.randn(2, 1, 5, 5))
    model[0].to(memory_format=torch.channels_last)
    model.register_buffer("hidden", torch.randn(2), persistent=False)
    model.register_parameter("scalar", nn.Parameter(torch.randn(())))
    model.register_parameter("none", nn.Parameter(torch.empty(0, 3)))
    model.half_table = nn.Embedding(4, 2).half()
    model.counts = nn.ParameterList([nn.Parameter(torch.randint(9, (3,), dtype=torch.int16), requires_grad=False)])
    return model


def broadcast_as(form, root):
    model = build(hvd.rank())
    forms = {
        "module": lambda: model,
        "state_dict": model.state_dict,
        "iterator": model.named_parameters,
        "list": lambda: list(model.named_parameters()),
        "dict": lambda: {**dict(model.named_parameters()), "unset": None},
    }
    hvd.broadcast_parameters(forms[form](), root_rank=root)
    return OrderedDict([*model.named_parameters(), *model.named_buffers()])


@pytest.mark.parametrize("form", ["module", "state_dict", "iterator", "list", "dict"])
def test_parameters_and_buffers_become_the_root_s(pool, form):
    root = 1
    expected = build(root)
    reference = dict([*expected.named_parameters(), *expected.named_buffers()])
    names = set(reference)
    if form != "module":
        names -= {"hidden"}
    if form not in ("module", "state_dict"):
        names -= {name for name, _ in expected.named_buffers()}
    for values in pool.run(broadcast_as, form, root, size=3):
        for name in names:
            assert torch.equal(values[name], reference[name]), name
        assert values["0.weight"].requires_grad
        assert values["0.weight"].is_contiguous(memory_format=torch.channels_last)


def different_models():
    model = nn.Linear(3, 4 + (hvd.rank() == 2))
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)


def test_models_that_differ_raise_on_every_worker(pool):
    for rank, outcome in enumerate(pool.outcomes(different_models, size=3)):
        assert isinstance(outcome.error, hvd.HorovodInternalError)
        assert str(outcome.error) == (
            f"worker {rank}: broadcast_parameters: the workers differ at entry 0: "
            "worker 0 has weight: float32 [4, 3], worker 2 has weight: float32 [5, 3]"
        )


@pytest.mark.parametrize(
    ("params", "message"),
    [(3, "a module, a dict or pairs"), ([torch.ones(1)], "pairs of name and tensor"), ({"epoch": 3}, "'epoch' is int")],
)
def test_what_is_no_parameters_is_refused(params, message):
    hvd.init()
    try:
        with pytest.raises(ValueError, match=message):
            hvd.broadcast_parameters(params, root_rank=0)
        with pytest.raises(HoraError, match="its module is lazy"):
            hvd.broadcast_parameters(nn.LazyLinear(3), root_rank=0)
    finally:
        hvd.shutdown()


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True),
    "tensor lr": lambda p: torch.optim.AdamW(p, lr=torch.tensor(1e-3), betas=(0.8, 0.9)),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.5, max_iter=4),
    "groups": lambda p: torch.optim.RMSprop([{"params": p[:1], "lr": 0.3}, {"params": p[1:]}], centered=True),
}


def trained(kind, steps, seed):
    torch.manual_seed(seed)
    model = nn.Linear(3, 2)
    optimizer = OPTIMIZERS[kind](list(model.parameters()))
    x, y = torch.randn(8, 3), torch.randn(8, 2)

    def closure():
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return model, optimizer, closure


def resume_on_worker_0(kind, wrapped):
    model, optimizer, _ = trained(kind, 3 if hvd.rank() == 0 else 0, seed=hvd.rank())
    if hvd.rank() == 0:
        optimizer.param_groups[0]["lr"] *= 0.5
        optimizer.param_groups[0]["initial_lr"] = 7.0
    if wrapped:
        optimizer = hvd.DistributedOptimizer(optimizer)
    hvd.broadcast_parameters(model, root_rank=0)
    before = copy.deepcopy(model.state_dict())
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    moved = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    stored = io.BytesIO()
    torch.save(optimizer.state_dict(), stored)
    return moved, stored.getvalue()


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_optimizer_state_after_a_resume_on_worker_0_alone(pool, kind, wrapped):
    (moved, first), *others = pool.run(resume_on_worker_0, kind, wrapped, size=2)
    assert moved == []
    expected = torch.load(io.BytesIO(first))
    assert expected["state"]
    assert expected["param_groups"][0]["initial_lr"] == 7.0
    for moved, other in others:
        assert moved == []
        assert_same(torch.load(io.BytesIO(other)), expected)


def stale_state():
    _, optimizer, _ = trained("adam", 0 if hvd.rank() == 0 else 2, seed=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    return len(optimizer.state)


def test_state_that_the_root_does_not_have_goes_away(pool):
    assert pool.run(stale_state, size=2) == [0, 0]


def steps_after():
    model, optimizer, _ = trained("adam", 2, seed=hvd.rank())
    hvd.broadcast_parameters(model, root_rank=1)
    hvd.broadcast_optimizer_state(optimizer, root_rank=1)
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


def test_the_next_step_is_the_same_on_all_workers(pool):
    first, second = pool.run(steps_after, size=2)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def objects():
    rank = hvd.rank()
    big = {"name": "x" * 5000, "rank": rank, "tensor": torch.full((2,), rank)}
    return hvd.broadcast_object(big, root_rank=2), hvd.allgather_object("y" * (rank * 2000))


def test_objects(pool):
    for received, gathered in pool.run(objects, size=3):
        assert received["rank"] == 2
        assert received["tensor"].tolist() == [2, 2]
        assert [len(text) for text in gathered] == [0, 2000, 4000]


def assert_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other
