"""Lesson 3's pieces: every schedule gives the sum, costs what the formula says, and runs on real workers."""

import pytest
import torch

from hora.learn.approaches import Network, approaches
from hora.learn.exchange import all_reduce
from hora.learn.measuring import fitted
from hora.learn.schedules import ALGORITHMS, play, ring, server, tree


@pytest.mark.parametrize("size", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_worker_ends_with_the_sum(name, size):
    schedule = ALGORITHMS[name](size)
    vectors = [[10.0**rank * (part + 1) for part in range(schedule.parts)] for rank in range(size)]
    sums = [sum(column) for column in zip(*vectors, strict=True)]
    assert play(schedule, vectors)[-1] == [sums] * size


@pytest.mark.parametrize("size", [2, 4, 8])
def test_costs_are_the_formula_s(size):
    alpha, beta, n = 3.0, 5.0, 1000.0
    steps = size.bit_length() - 1
    assert ring(size).seconds(alpha, beta, n) == pytest.approx(2 * (size - 1) * (alpha + beta * n / size))
    assert tree(size).seconds(alpha, beta, n) == pytest.approx(2 * steps * (alpha + beta * n))
    assert server(size).seconds(alpha, beta, n) == pytest.approx(2 * (alpha + (size - 1) * beta * n))


def test_a_ring_s_workers_send_alike():
    assert ring(5).sent(1000) == pytest.approx([2 * 4 / 5 * 1000] * 5)


def test_a_line_is_fitted():
    line = fitted([1000, 4000, 64000], [2e-5 + 1e-9 * n for n in (1000, 4000, 64000)])
    assert line.alpha == pytest.approx(2e-5)
    assert line.beta == pytest.approx(1e-9)
    assert line.seconds(1000) == pytest.approx(2.1e-5)


def sums_of_schedules(vector):
    found = []
    for make in ALGORITHMS.values():
        own = torch.tensor(vector) * (torch.distributed.get_rank() + 1)
        all_reduce(make(torch.distributed.get_world_size()), own)
        found.append(own.tolist())
    return found


@pytest.mark.slow
def test_schedules_run_on_real_workers(pool):
    vector = [1.0, 2.0, 3.0, 4.0, 5.0]
    for found in pool.run(sums_of_schedules, vector, size=3, timeout=150):
        assert found == [[6 * value for value in vector]] * 3


def test_what_each_approach_sends():
    network = Network(layers=2, width=8, tokens=10)
    sent = {one.name: one.bytes_a_step for one in approaches(network, 4, local_steps=10)}
    weights = 12 * 2 * 8 * 8 * 4
    assert network.parameters * 4 == weights
    assert sent["data parallel"] == 1.5 * weights
    assert sent["sharded (FSDP, ZeRO-3)"] == 2.25 * weights
    assert sent["tensor parallel"] == 4 * 2 * 1.5 * 10 * 8 * 4
    assert sent["pipeline"] == 2 * 10 * 8 * 4
    assert sent["local SGD"] == pytest.approx(0.15 * weights)
