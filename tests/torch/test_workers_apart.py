"""What DistributedOptimizer does where workers are late, come apart, or die."""

from __future__ import annotations

import os
import random
import time

import pytest
import torch
from loops import data, network, own, record, small_buckets
from torch.nn import functional as F

import hora.torch as hvd


def sgd(model, **options):
    return hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), **options)


def same_loop():
    model = network()
    optimizer = sgd(model)
    for x, y in data(3):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        optimizer.step()


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


def one_step_fewer():
    """Worker 1 leaves out the step after which the buckets are made anew."""
    model = network()
    optimizer = sgd(model)
    for step, (x, y) in enumerate(data(5)):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        if not (step == 2 and hvd.rank() == 1):
            optimizer.step()


def test_a_worker_that_runs_one_step_fewer_is_an_error(pool):
    start = time.monotonic()
    waiting, other = pool.outcomes(one_step_fewer, size=2, env={"HORA_TIMEOUT_SECONDS": "2"})
    assert "worker 0: making the buckets of DistributedOptimizer anew failed" in str(waiting.error)
    assert "worker 1: reducing the gradients of group 0 parameter" in str(other.error)
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


def rebuilds(rounds):
    """New optimizers make their buckets anew while workers sleep at random; return the last weights."""
    pauses = random.Random(hvd.rank())

    def doze():
        time.sleep(pauses.choice((0, 0, 0.003)))

    model = network()
    [(x, y)] = data(1)
    with small_buckets(measured_step=2):
        for _ in range(rounds):
            optimizer = sgd(model, backward_passes_per_step=2)
            for _ in range(4):
                optimizer.zero_grad()
                for _ in range(2):
                    hidden = model[:2](own(x))
                    hidden.register_hook(lambda gradient: doze())
                    F.mse_loss(model[2:](hidden), own(y)).backward()
                    doze()
                optimizer.step()
                doze()
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_buckets_made_anew_200_times_with_sleeping_workers(pool, size):
    [expected] = pool.run(rebuilds, 200, size=1)
    for found in pool.run(rebuilds, 200, size=size, timeout=300):
        assert all(torch.allclose(found[name], expected[name], atol=1e-4) for name in expected)
