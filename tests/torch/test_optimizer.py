"""What DistributedOptimizer accepts, refuses and keeps; sums, compression, buckets. Gradients: `test_gradients.py`."""

from __future__ import annotations

import copy
import gc
import io
import os
import weakref

import pytest
import torch
from loops import data, network, own, record, small_buckets
from torch import nn
from torch.nn import functional as F

import hora.torch as hvd
from hora.errors import HoraError


@pytest.fixture
def alone(monkeypatch):
    for name in list(os.environ):
        if name in ("RANK", "WORLD_SIZE") or name.startswith(("LOCAL_", "GROUP_", "MASTER_")):
            monkeypatch.delenv(name)
    hvd.init()
    yield
    hvd.shutdown()


def sgd(model, **options):
    return hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), **options)


def test_one_worker_hooks_nothing(alone):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert hvd.DistributedOptimizer(optimizer) is optimizer
    assert isinstance(optimizer, torch.optim.SGD)
    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())
    assert not optimizer._optimizer_step_pre_hooks
    model(torch.ones(1, 6)).sum().backward()
    optimizer.synchronize()
    with optimizer.skip_synchronize():
        optimizer.step()


def test_before_init_it_is_refused():
    with pytest.raises(ValueError, match="not been initialized"):
        sgd(network())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"op": hvd.Max}, "op must be"),
        ({"op": hvd.Sum, "gradient_predivide_factor": 2.0}, "needs op=hvd.Average"),
        ({"backward_passes_per_step": 0}, "positive integer"),
        ({"groups": -1}, "not be negative"),
        ({"groups": "layers"}, "a number or a list of lists"),
        ({"named_parameters": [("a", torch.ones(1))]}, "missing: group 0 parameter 0"),
        ({"named_parameters": [("a", torch.ones(1)), ("a", torch.ones(1))]}, "found twice: a"),
        ({"named_parameters": [torch.ones(1)]}, "pairs of name and parameter"),
    ],
)
def test_wrong_arguments(alone, options, message):
    with pytest.raises(ValueError, match=message):
        sgd(network(), **options)


def test_what_is_no_optimizer_is_refused(alone):
    with pytest.raises(HoraError, match="Linear is no torch"):
        hvd.DistributedOptimizer(nn.Linear(1, 1))


def stored():
    model = network()
    optimizer = hvd.DistributedOptimizer(torch.optim.Adam(model.parameters(), lr=0.1))
    model(torch.ones(1, 6)).sum().backward()
    optimizer.step()
    buffer = io.BytesIO()
    torch.save(optimizer, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    twin = copy.deepcopy(optimizer)
    return type(loaded).__name__, type(loaded) is torch.optim.Adam, len(twin.state), repr(optimizer).split()[0]


def test_it_is_stored_and_copied_as_the_plain_optimizer(pool):
    assert pool.run(stored, size=2) == [("Adam", True, 6, "Adam")] * 2


def sums(kind):
    """Return the gradients with op=Sum and with op=Average, of the same loop."""
    results = []
    for op in (hvd.Sum, hvd.Average):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(9, 6, sparse=kind == "sparse"), nn.Linear(6, 3))
        parameters = list(model.parameters())
        optimizer = sgd(model, op=op, backward_passes_per_step=2 if kind == "window" else 1)
        records = []
        for _ in range(2):
            optimizer.zero_grad(set_to_none=kind != "zeroed")
            for _ in range(1 if kind == "by hand" else 2):
                tokens = own(torch.randint(9, (12,)))
                loss = model(tokens).square().mean()
                if kind == "by hand":
                    for parameter, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                        parameter.grad = grad
                else:
                    loss.backward()
            if kind in ("by hand", "stepped twice"):
                with torch.no_grad():
                    kept = [parameter.clone() for parameter in parameters]
                    with small_buckets(measured_step=1):
                        for _ in range(1 if kind == "by hand" else 3):
                            optimizer.step()
                    for parameter, value in zip(parameters, kept, strict=True):
                        parameter.copy_(value)
            records.append(record(model))
        results.append(records)
    return results


@pytest.mark.parametrize("kind", ["two backwards", "zeroed", "window", "sparse", "by hand", "stepped twice"])
def test_a_sum_is_n_times_the_mean(pool, kind):
    for size in (2, 3):
        for summed, averaged in pool.run(sums, kind, size=size):
            for one, other in zip(summed, averaged, strict=True):
                for name in one:
                    assert other[name].norm() > 0
                    assert torch.allclose(one[name], other[name] * size, rtol=1e-5, atol=1e-7)


def compressed(name):
    model = network()
    optimizer = sgd(model, compression=getattr(hvd.Compression, name), backward_passes_per_step=2)
    records = []
    for x, y in data(2):
        optimizer.zero_grad()
        for _ in range(2):
            F.mse_loss(model(own(x)), own(y)).backward()
        records.append(record(model))
    return records


@pytest.mark.parametrize(("name", "tolerance"), [("fp16", 2e-3), ("bf16", 2e-2)])
def test_compressed_gradients_are_nearly_the_same(pool, name, tolerance):
    exact = pool.run(compressed, "none", size=3)
    for one, other in zip(exact, pool.run(compressed, name, size=3), strict=True):
        for a, b in zip(one, other, strict=True):
            for key in a:
                difference = (a[key] - b[key]).norm() / a[key].norm()
                assert 0 < difference < tolerance
                assert b[key].dtype == torch.float32


def compressed_twice(zeroes):
    model = network()
    optimizer = sgd(model, compression=hvd.Compression.bf16)
    for x, y in data(2):
        optimizer.zero_grad()
        for _ in range(2):
            F.mse_loss(model(own(x)), own(y)).backward()
            if zeroes:
                model.zero_grad(set_to_none=False)
        optimizer.step()


def test_gradients_are_compressed_once_in_a_window(pool):
    for outcome in pool.outcomes(compressed_twice, False, size=2):
        assert isinstance(outcome.error, HoraError)
        assert "compression=BF16Compressor" in str(outcome.error)
        assert "backward_passes_per_step" in str(outcome.error)
    pool.run(compressed_twice, True, size=2)


def different(what):
    rank = hvd.rank()
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3 + (what == "shape" and rank == 1)))
    if what == "dtype" and rank == 1:
        model[1].double()
    if what == "frozen" and rank == 1:
        model[1].weight.requires_grad_(False)
    names = [(f"{'x' * (what == 'name' and rank == 1)}{name}", p) for name, p in model.named_parameters()]
    if what == "number" and rank == 1:
        model = model[0]
        names = names[:2]
    sgd(model, named_parameters=names)


@pytest.mark.parametrize(
    ("what", "first", "second"),
    [
        ("shape", "1.weight: float32 [3, 3]", "1.weight: float32 [4, 3]"),
        ("dtype", "1.weight: float32 [3, 3]", "1.weight: float64 [3, 3]"),
        ("frozen", "1.weight: float32 [3, 3]", "1.weight: float32 [3, 3], frozen"),
        ("name", "0.weight: float32 [3, 2]", "x0.weight: float32 [3, 2]"),
        ("number", "1.weight: float32 [3, 3]", "nothing more"),
    ],
)
def test_parameters_that_differ_raise_on_every_worker(pool, what, first, second):
    for rank, outcome in enumerate(pool.outcomes(different, what, size=3)):
        assert isinstance(outcome.error, hvd.HorovodInternalError)
        assert str(outcome.error).startswith(f"worker {rank}: DistributedOptimizer: the workers differ at entry ")
        assert f"worker 0 has {first}, worker 1 has {second}" in str(outcome.error)


def bucket_sizes():
    os.environ["HORA_BUCKET_MB"] = "1" if hvd.rank() == 0 else "100"
    model = nn.Sequential(*(nn.Linear(256, 256) for _ in range(12)))
    optimizer = sgd(model)
    return [len(bucket.parameters) for bucket in optimizer._reducer.gradients.buckets]


def test_worker_0_decides_the_buckets(pool):
    first, second = pool.run(bucket_sizes, size=2, env={"HORA_BUCKET_MB": "4"})
    assert first == second == [8, 8, 8]


def other_rounds():
    """The optimizer goes on in a later world; torch's threads of the earlier ones are gone in the end."""
    model = network()
    optimizer = sgd(model)
    for x, y in data(3):
        hvd.shutdown()
        hvd.init()
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        optimizer.step()
    return record(model)


def same_loop():
    model = network()
    optimizer = sgd(model)
    for x, y in data(3):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        optimizer.step()
    return record(model)


def test_an_optimizer_goes_on_after_another_init(pool):
    for one, other in zip(pool.run(other_rounds, size=2), pool.run(same_loop, size=2), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def after_shutdown():
    model = network()
    sgd(model)
    hvd.shutdown()
    model(torch.ones(1, 6)).sum().backward()


def test_a_backward_after_shutdown_raises_out_of_backward(pool):
    for outcome in pool.outcomes(after_shutdown, size=2):
        assert "not been initialized" in str(outcome.error)


def many_optimizers():
    model = network()
    groups = set()
    for _ in range(20):
        optimizer = sgd(model)
        groups.add(id(optimizer._reducer.gradients.group))
        F.mse_loss(model(torch.ones(2, 6)), torch.ones(2, 3)).backward()
        optimizer.step()
    gc.collect()
    return len(groups), len(model[0].weight._post_accumulate_grad_hooks)


def test_new_optimizers_over_the_same_parameters_take_over(pool):
    assert pool.run(many_optimizers, size=2) == [(1, 1)] * 2


def let_go(options):
    """Train, let go of network and optimizer, and say what is still there: the network's weights, who reduced them."""
    model = nn.Linear(4, 3)
    optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), **options)
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.ones(2, 4)).sum().backward()
        optimizer.step()
    held = [weakref.ref(model.weight), weakref.ref(optimizer._reducer)]
    del model, optimizer
    gc.collect()
    return [one() is None for one in held]


@pytest.mark.parametrize("options", [{}, {"op": hvd.Sum}, {"compression": hvd.Compression.fp16}], ids=str)
def test_what_a_script_lets_go_of_is_gone(pool, options):
    assert pool.run(let_go, options) == [[True, True]] * 2


def hooks_left():
    """The hooks on a network that two optimizers had, after they are gone; its gradients are then this worker's own."""
    model = nn.Linear(4, 3)
    for _ in range(2):
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
    del optimizer
    gc.collect()
    model(torch.full((1, 4), float(hvd.rank()))).sum().backward()
    return len(model.weight._post_accumulate_grad_hooks), model.weight.grad.unique().tolist()


def test_an_optimizer_that_is_gone_leaves_no_hooks(pool):
    assert pool.run(hooks_left) == [(0, [0.0]), (0, [1.0])]


def scheduled():
    model = network()
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    for x, y in data(5):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        optimizer.step()
        scheduler.step()
    return optimizer.param_groups[0]["lr"]


def test_schedulers_go_on(pool):
    assert pool.run(scheduled, size=2) == [0.025, 0.025]


def bucket_orders():
    """The network's second part comes first in its forward, and a layer in the middle is never used."""
    layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(5))
    names = {parameter: name for name, parameter in layers.named_parameters()}
    orders = []
    with small_buckets():
        optimizer = sgd(layers)
        for _ in range(4):
            buckets = optimizer._reducer.gradients.buckets
            orders.append([names[parameter] for bucket in buckets for parameter in bucket.parameters])
            optimizer.zero_grad()
            # What worker 0 says counts, and its gradients come in another order.
            first, second = (0, 3) if hvd.rank() == 0 else (3, 0)
            hidden = layers[first + 1](layers[first](torch.ones(2, 16)))
            layers[second + 1](layers[second](hidden)).sum().backward()
            optimizer.step()
    return orders


def test_buckets_follow_the_order_of_the_gradients(pool):
    first, second = pool.run(bucket_orders, size=2)
    assert first == second
    assert [[name[0] for name in order] for order in first] == [list("4433221100")] * 3 + [list("4433110022")]
