"""The explicit collectives against what one process computes from all the workers' tensors."""

from __future__ import annotations

import math
import os
import re
import time

import pytest
import torch

import hora.torch as hvd

DTYPES = [
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
]


@pytest.fixture
def alone(monkeypatch):
    for name in list(os.environ):
        if name in ("RANK", "WORLD_SIZE") or name.startswith(("LOCAL_", "GROUP_", "MASTER_")):
            monkeypatch.delenv(name)
    hvd.init()
    yield
    hvd.shutdown()


def tensor_of(rank, dtype):
    return torch.tensor([[rank + 1, 2, 3], [4, 5, 5 - rank]]).to(dtype)


def reduce_all(dtype):
    mine = tensor_of(hvd.rank(), dtype)
    results = {op: hvd.allreduce(mine, op=op) for op in (hvd.Average, hvd.Sum, hvd.Min, hvd.Max, hvd.Product)}
    assert torch.equal(mine, tensor_of(hvd.rank(), dtype)), "the input was changed"
    return results


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_allreduce_of_each_dtype_and_op(pool, dtype):
    size = 3
    everyone = torch.stack([tensor_of(rank, dtype) for rank in range(size)]).double()
    expected = {
        hvd.Average: everyone.sum(0) / size if dtype.is_floating_point else (everyone.sum(0) / size).trunc(),
        hvd.Sum: everyone.sum(0),
        hvd.Min: everyone.amin(0),
        hvd.Max: everyone.amax(0),
        hvd.Product: everyone.prod(0),
    }
    for results in pool.run(reduce_all, dtype, size=size):
        for op, result in results.items():
            assert result.dtype == dtype
            assert torch.allclose(result.double(), expected[op], rtol=1e-2), op


def integer_averages():
    small = torch.tensor([100], dtype=torch.int8)
    return hvd.allreduce(torch.tensor([-3, 3]) * (1 - hvd.rank())).tolist(), hvd.allreduce(small).item()


def test_the_average_of_integers_truncates_toward_zero_and_does_not_overflow(pool):
    assert pool.run(integer_averages, size=2) == [([-1, 1], 100)] * 2


def bools_and_complex():
    flags = torch.tensor([True, False, hvd.rank() == 0])
    number = torch.tensor([1 + 2j]) * (hvd.rank() + 1)
    return hvd.allreduce(flags, op=hvd.Sum).tolist(), hvd.allreduce(number, op=hvd.Sum).tolist()


def test_bool_and_complex_tensors(pool):
    assert pool.run(bools_and_complex, size=2) == [([True, False, True], [3 + 6j])] * 2


def numbers():
    rank = hvd.rank()
    return [
        hvd.allreduce(0.1 * (rank + 1), op=hvd.Sum),
        hvd.allreduce(2**60 + rank, op=hvd.Max),
        hvd.allreduce(rank),
        hvd.allreduce(True, op=hvd.Sum),
        hvd.allreduce(0 if rank else 0.5, op=hvd.Sum),
        hvd.allreduce(math.nan if rank else 1.0, op=hvd.Max),
        hvd.allreduce(3, op=hvd.Sum, prescale_factor=0.5),
    ]


def test_python_numbers_stay_python_numbers(pool):
    for values in pool.run(numbers, size=2):
        assert values[0] == 0.1 + 0.2
        assert values[1] == 2**60 + 1
        assert values[2] == 0.5
        assert values[3] == 2
        assert [type(value) for value in values[:4]] == [float, int, float, int]
        assert values[4] == 0.5
        assert math.isnan(values[5])
        assert values[6] == 3.0


def number_or_tensor():
    total = 0
    if hvd.rank() == 0:
        total += torch.tensor(7.5)
    return hvd.allreduce(total, op=hvd.Sum)


def test_a_worker_whose_loop_never_ran_joins_with_its_number(pool):
    for result in pool.run(number_or_tensor, size=2):
        assert torch.equal(result, torch.tensor(7.5))


def scaled():
    one = torch.ones(2)
    return [
        hvd.allreduce(one, op=hvd.Sum, prescale_factor=2.0, postscale_factor=0.25),
        hvd.allreduce(torch.tensor([3, 5]), op=hvd.Sum, prescale_factor=0.5),
        hvd.allreduce(one, average=False),
        hvd.allreduce(one * 1e-3, op=hvd.Sum, compression=hvd.Compression.fp16),
        hvd.allreduce(one * 3e38 / 4, compression=hvd.Compression.bf16),
        hvd.allreduce(torch.tensor([2**24 + 1]), op=hvd.Max, compression=hvd.Compression.fp16),
    ]


def test_factors_and_compression(pool):
    for results in pool.run(scaled, size=2):
        assert torch.equal(results[0], torch.ones(2))
        assert torch.equal(results[1], torch.tensor([2, 4]))
        assert torch.equal(results[2], torch.full((2,), 2.0))
        assert torch.allclose(results[3], torch.full((2,), 2e-3), rtol=1e-3)
        assert results[3].dtype == torch.float32
        assert torch.isfinite(results[4]).all()
        assert torch.equal(results[5], torch.tensor([2**24 + 1]))


def in_place_and_later():
    rank = hvd.rank()
    first, second = torch.full((3,), float(rank)), torch.full((2,), float(rank))
    hvd.allreduce_(first, op=hvd.Sum)
    handle = hvd.allreduce_async_(second, op=hvd.Sum, name="second")
    third = hvd.allreduce_async(torch.full((4,), float(rank)), op=hvd.Max)
    group = [torch.full((2,), float(rank)), torch.tensor([rank])]
    grouped = hvd.grouped_allreduce(group, op=hvd.Sum)
    hvd.grouped_allreduce_(group, op=hvd.Sum)
    while not hvd.poll(handle):
        time.sleep(0.001)
    returned = hvd.synchronize(handle)
    assert returned is second
    with pytest.raises(ValueError, match="no operation in flight"):
        hvd.poll(handle)
    weight = torch.nn.Parameter(torch.ones(1) * rank)
    with torch.no_grad():
        hvd.broadcast_(weight, root_rank=1)
    return first, second, hvd.synchronize(third), grouped, group, weight.detach()


def test_in_place_async_and_grouped_forms(pool):
    for first, second, third, grouped, group, weight in pool.run(in_place_and_later, size=2):
        assert first.tolist() == [1, 1, 1]
        assert second.tolist() == [1, 1]
        assert third.tolist() == [1] * 4
        assert [part.tolist() for part in grouped] == [[1, 1], [1]]
        assert [part.tolist() for part in group] == [[1, 1], [1]]
        assert weight.tolist() == [1]


def gather(dtype):
    rank = hvd.rank()
    rows = torch.full((rank, 2), rank).to(dtype)
    return hvd.allgather(rows), hvd.allgather(torch.tensor(rank)), hvd.allgather(torch.empty(0, 3))


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bool, torch.complex64], ids=str)
def test_allgather_of_different_numbers_of_rows(pool, dtype):
    for rows, ranks, nothing in pool.run(gather, dtype, size=3):
        assert rows.dtype == dtype
        assert torch.equal(rows, torch.tensor([[1, 1], [2, 2], [2, 2]]).to(dtype))
        assert ranks.tolist() == [0, 1, 2]
        assert nothing.shape == (0, 3)


def send(dtype):
    return hvd.broadcast(tensor_of(hvd.rank(), dtype), root_rank=1)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bool], ids=str)
def test_broadcast_of_each_dtype(pool, dtype):
    for result in pool.run(send, dtype, size=2):
        assert result.dtype == dtype
        assert torch.equal(result, tensor_of(1, dtype))


def gradients():
    rank = hvd.rank()

    def gradient(function):
        x = torch.arange(4.0).reshape(2, 2).requires_grad_()
        weights = torch.ones(2, 2) * (rank + 1)
        (function(x) * weights).sum().backward()
        return x.grad

    x = torch.ones(rank + 1, 2, requires_grad=True)
    gathered = hvd.allgather(x)
    (gathered * torch.arange(len(gathered)).unsqueeze(1)).sum().backward()
    a, b = torch.ones(1, requires_grad=True), torch.ones(2, requires_grad=True)
    hvd.allreduce(a).sum().backward()
    (hvd.grouped_allreduce([a, b], op=hvd.Sum)[1] * rank).sum().backward()
    return {
        "average": gradient(lambda x: hvd.allreduce(x)),
        "sum": gradient(lambda x: hvd.allreduce(x, op=hvd.Sum, name="named")),
        "broadcast": gradient(lambda x: hvd.broadcast(x, 1)),
        "gather": x.grad,
        "ones": a.grad,
        "grouped": b.grad,
    }


def test_collectives_are_differentiable(pool):
    for rank, result in enumerate(pool.run(gradients, size=2)):
        assert torch.equal(result["average"], torch.full((2, 2), 1.5))
        assert torch.equal(result["sum"], torch.full((2, 2), 3.0))
        assert torch.equal(result["broadcast"], torch.full((2, 2), 1.5 if rank == 1 else 0.0))
        assert result["gather"].tolist() == ([[0, 0]] if rank == 0 else [[1, 1], [2, 2]])
        assert result["ones"].tolist() == [1.0]
        assert result["grouped"].tolist() == [1.0, 1.0]


def max_has_no_gradient():
    hvd.allreduce(torch.ones(2, requires_grad=True), op=hvd.Max).sum().backward()


def test_the_gradient_of_max_is_refused(pool):
    assert all("op=Max" in str(outcome.error) for outcome in pool.outcomes(max_has_no_gradient, size=2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hvd.allreduce(torch.ones(1), average=True, op=hvd.Sum), "either op or average"),
        (lambda: hvd.allreduce(torch.ones(1), op=17), "op must be"),
        (lambda: hvd.allreduce(torch.ones(2, 3).t()), "contiguous"),
        (lambda: hvd.allgather(torch.ones(2, 3).t()), "contiguous"),
        (lambda: hvd.broadcast(torch.ones(1), root_rank=1), "root_rank must be"),
        (lambda: hvd.broadcast_object(1, root_rank=-1), "root_rank must be"),
        (lambda: hvd.grouped_allreduce([]), "at least one"),
        (lambda: hvd.poll(10**9), "no operation in flight"),
        (lambda: hvd.synchronize(10**9), "no operation in flight"),
        (lambda: hvd.allreduce("loss"), "got str"),
        (lambda: hvd.alltoall(torch.ones(2), splits=[1]), "the sum 2; got"),
        (lambda: hvd.alltoall(torch.ones(2), splits=torch.tensor([2.0])), "integers"),
        (lambda: hvd.alltoall(torch.tensor(1.0)), "at least one dimension"),
        (lambda: hvd.reducescatter(torch.tensor(1.0)), "at least one dimension"),
        (lambda: hvd.allreduce(torch.tensor([1]), op=hvd.Adasum), "floating-point"),
        (lambda: hvd.sparse_allreduce_async(torch.ones(2), "x"), "sparse COO"),
        (lambda: hvd.barrier(hvd.ProcessSet([0])), "not known to the workers"),
    ],
)
def test_wrong_arguments(alone, call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_one_worker_gets_its_own_back(alone):
    x = torch.arange(3.0, requires_grad=True)
    result = hvd.allreduce(x, op=hvd.Sum, prescale_factor=2.0)
    assert result is not x
    result.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]
    assert hvd.allgather(torch.tensor(5)).tolist() == [5]
    assert hvd.broadcast(x, 0).tolist() == [0, 1, 2]
    assert (hvd.allreduce(3), hvd.allreduce(3, op=hvd.Sum), hvd.allreduce(2.5, op=hvd.Sum)) == (3.0, 3, 2.5)
    hvd.barrier()


def mismatch(what):
    rank = hvd.rank()
    calls = {
        "shape": lambda: hvd.allreduce(torch.ones(2 + rank), name="x"),
        "dtype": lambda: hvd.allreduce(torch.ones(2, dtype=[torch.float32, torch.int64][rank]), name="x"),
        "op": lambda: hvd.allreduce(torch.ones(2), op=[hvd.Sum, hvd.Max][rank], name="x"),
        "factor": lambda: hvd.allreduce(torch.ones(2), prescale_factor=1.0 + rank, name="x"),
        "root": lambda: hvd.broadcast(torch.ones(2), root_rank=rank, name="x"),
        "columns": lambda: hvd.allgather(torch.ones(2, 2 + rank), name="x"),
        "kind": lambda: hvd.allgather(torch.ones(2), name="x") if rank else hvd.allreduce(torch.ones(2), name="x"),
        "splits": lambda: hvd.alltoall(torch.ones(2, 2 + rank), splits=[1, 1]),
        "scatter": lambda: hvd.reducescatter(torch.ones(4, 2 + rank)),
        "group": lambda: hvd.grouped_allreduce([torch.ones(2)] * (1 + rank)),
        "object": lambda: hvd.broadcast_object(1) if rank else hvd.allreduce(torch.ones(2)),
        "number": lambda: hvd.allreduce(1.0 if rank else torch.ones(2)),
    }
    try:
        calls[what]()
    except hvd.HorovodInternalError as error:
        # The group is still healthy.
        return str(error), hvd.allreduce(1, op=hvd.Sum)
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "what",
    ["shape", "dtype", "op", "factor", "root", "columns", "kind", "splits", "scatter", "group", "object", "number"],
)
def test_a_mismatch_raises_on_every_worker_and_breaks_nothing(pool, what):
    for rank, (message, total) in enumerate(pool.run(mismatch, what, size=2)):
        assert message.startswith(f"worker {rank}: ")
        assert re.search("failed: the workers called different operations: worker [01] .*; worker [01] ", message)
        assert total == 2


def long_group():
    rank = hvd.rank()
    tensors = [torch.full((2, 3, 4), float(rank)) for _ in range(200)]
    return sum(float(tensor.sum()) for tensor in hvd.grouped_allreduce(tensors, op=hvd.Sum, name="many"))


def test_an_announcement_of_any_length(pool):
    assert pool.run(long_group, size=2) == [200 * 24.0] * 2


def leave_alone():
    if hvd.rank() == 1:
        os._exit(7)
    hvd.allreduce(torch.ones(3), name="loss")


def test_a_worker_that_dies_is_an_error_for_the_others(pool):
    start = time.monotonic()
    survivor, _ = pool.outcomes(leave_alone, size=2)
    assert time.monotonic() - start < 15
    assert isinstance(survivor.error, hvd.HorovodInternalError)
    assert "worker 0: allreduce 'loss' of float32 [3] on cpu, op=Average" in str(survivor.error)
    assert "failed: worker 1 is gone" in str(survivor.error)


def come_late():
    if hvd.rank() == 1:
        time.sleep(2.5)
        return
    hvd.barrier()


def test_a_worker_that_does_not_come_is_an_error_not_a_hang(pool):
    waiting, _ = pool.outcomes(come_late, size=2, env={"HORA_TIMEOUT_SECONDS": "5"})
    assert isinstance(waiting.error, hvd.HorovodInternalError)
    assert "worker 0: barrier" in str(waiting.error)


def churn(rounds):
    total = 0.0
    for index in range(rounds):
        if index % 20 == hvd.rank():
            time.sleep(0.01)
        total += float(hvd.allreduce(torch.tensor([float(index)]), op=hvd.Sum, name=str(index)))
        total += len(hvd.allgather(torch.ones(index % 3 + hvd.rank())))
    return total


@pytest.mark.slow
def test_collectives_200_times_with_a_sleeping_worker(pool):
    expected = sum(3 * index + 3 * (index % 3) + 3 for index in range(200))
    assert pool.run(churn, 200, size=3) == [expected] * 3
