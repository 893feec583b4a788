"""What DistributedOptimizer accepts, refuses and keeps; sums, compression, failures. Gradients: `test_gradients.py`."""

from __future__ import annotations

import copy
import gc
import io
import os
import time

import pytest
import torch
from loops import data, network, own, record
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
            if kind == "by hand":
                with torch.no_grad():
                    kept = [parameter.clone() for parameter in parameters]
                    optimizer.step()
                    for parameter, value in zip(parameters, kept, strict=True):
                        parameter.copy_(value)
            records.append(record(model))
        results.append(records)
    return results


@pytest.mark.parametrize("kind", ["two backwards", "zeroed", "window", "sparse", "by hand"])
def test_a_sum_is_n_times_the_mean(pool, kind):
    for size in (2, 3):
        for summed, averaged in pool.run(sums, kind, size=size):
            for one, other in zip(summed, averaged, strict=True):
                for name in one:
                    assert other[name].norm() > 0
                    assert torch.allclose(one[name], other[name] * size, rtol=1e-5, atol=1e-7)


def compressed(name):
    model = network()
    optimizer = sgd(model, compression=getattr(hvd.Compression, name))
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


def one_backward_fewer():
    model = network()
    optimizer = sgd(model)
    for step, (x, y) in enumerate(data(4)):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        if not (step == 1 and hvd.rank() == 1):
            F.mse_loss(model(own(x)), own(y)).backward()
        optimizer.step()


def test_a_worker_that_runs_one_backward_fewer_is_an_error(pool):
    start = time.monotonic()
    for rank, outcome in enumerate(pool.outcomes(one_backward_fewer, size=2, env={"HORA_TIMEOUT_SECONDS": "5"})):
        assert isinstance(outcome.error, hvd.HorovodInternalError)
        assert f"worker {rank}: the loops of the workers have come apart: this one is at step" in str(outcome.error)
    assert time.monotonic() - start < 20


def one_batch_fewer():
    model = network()
    model[0].weight.data.zero_()
    optimizer = sgd(model, named_parameters=model.named_parameters())
    for x, y in data(3 - hvd.rank()):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        optimizer.step()
    time.sleep(4 * hvd.rank())


def test_a_worker_that_runs_one_batch_fewer_is_named(pool):
    waiting, _ = pool.outcomes(one_batch_fewer, size=2, env={"HORA_TIMEOUT_SECONDS": "1"})
    assert isinstance(waiting.error, hvd.HorovodInternalError)
    assert "worker 0: reducing the gradients of 4.bias, 4.weight, 2.bias" in str(waiting.error)
    assert str(waiting.error).endswith("Not here: worker 1, which has ended or is elsewhere in its script.")


def no_backward():
    """Worker 1's batch reaches no parameter at the second step; it steps all the same."""
    model = network()
    optimizer = sgd(model)
    for step, (x, y) in enumerate(data(3)):
        optimizer.zero_grad()
        if not (step == 1 and hvd.rank() == 1):
            F.mse_loss(model(own(x)), own(y)).backward()
        optimizer.step()
    return record(model)


def test_a_worker_whose_backward_reaches_nothing_counts_as_zero(pool):
    first, second = pool.run(no_backward, size=2)
    assert all(torch.equal(first[name], second[name]) for name in first)


def unfrozen_on_one():
    model = network()
    model[0].requires_grad_(False)
    optimizer = sgd(model, named_parameters=model.named_parameters())
    for x, y in data(2):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        optimizer.step()
        if hvd.rank() == 1:
            model[0].bias.requires_grad_(True)


def test_a_parameter_unfrozen_on_one_worker_only_is_named(pool):
    for outcome in pool.outcomes(unfrozen_on_one, size=2):
        assert isinstance(outcome.error, hvd.HorovodInternalError)
        became = "0.bias" if outcome.rank == 1 else "none"
        assert f"the workers train different parameters: {became} became trainable here" in str(outcome.error)


def dies(where):
    model = network()
    optimizer = sgd(model, groups=3)
    for step, (x, y) in enumerate(data(3)):
        optimizer.zero_grad()
        hidden = model[:2](own(x))
        if where == "in backward" and step == 1 and hvd.rank() == 1:
            hidden.register_hook(lambda gradient: os._exit(9))
        F.mse_loss(model[2:](hidden), own(y)).backward()
        if where == "before the step" and step == 1 and hvd.rank() == 1:
            os._exit(9)
        optimizer.step()


@pytest.mark.parametrize("where", ["in backward", "before the step"])
def test_a_worker_that_dies_is_an_error_for_the_others(pool, where):
    pool.run(same_loop, size=3)
    start = time.monotonic()
    outcomes = pool.outcomes(dies, where, size=3, env={"HORA_TIMEOUT_SECONDS": "4"})
    assert time.monotonic() - start < 20
    for survivor in (outcomes[0], outcomes[2]):
        assert isinstance(survivor.error, hvd.HorovodInternalError)
        assert "reducing the gradients of group 0 parameter" in str(survivor.error)
    assert any("Not here: worker 1" in str(survivor.error) for survivor in (outcomes[0], outcomes[2]))


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
    del optimizer
    gc.collect()
    return len(groups), len(model[0].weight._post_accumulate_grad_hooks)


def test_new_optimizers_over_the_same_parameters_take_over(pool):
    assert pool.run(many_optimizers, size=2) == [(1, 1)] * 2


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


def churn(rounds):
    """A worker sleeps now and then, in the middle of backward or before it."""
    model = network()
    optimizer = sgd(model, groups=4)
    [(x, y)] = data(1)
    for step in range(rounds):
        optimizer.zero_grad()
        hidden = model[:2](own(x))
        if step % 7 == hvd.rank():
            hidden.register_hook(lambda gradient: time.sleep(0.01))
        F.mse_loss(model[2:](hidden), own(y)).backward()
        if step % 5 == hvd.rank():
            time.sleep(0.005)
        optimizer.step()
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.slow
def test_200_steps_with_a_sleeping_worker(pool):
    [expected] = pool.run(churn, 200, size=1)
    for found in pool.run(churn, 200, size=3):
        assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)
