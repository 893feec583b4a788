"""Operations find each other by name, in any order; what cannot be matched ends with an error that says why."""

from __future__ import annotations

import os
import time

import pytest
import torch

import hora.torch as hvd
from hora.torch.calls import Call, encode
from hora.torch.coordinator import Ask, Coordinator, Expire, Fail, Go, Join, Joined, Leave


class Book:
    """A coordinator and what it answered."""

    def __init__(self, size):
        self.answers = []
        self._coordinator = Coordinator(size, lambda rank, answer: self.answers.append((rank, answer)))
        self._ranks = list(range(size))

    def call(self, rank, key, op="Sum", kind="allreduce"):
        call = Call(kind, key, [("float32", [2], "cpu")], {"op": op} if kind == "allreduce" else {})
        self.hear(rank, Ask(key, self._ranks, encode(call)))

    def hear(self, rank, question):
        self._coordinator.hear(rank, question)

    def take(self):
        answers, self.answers = self.answers, []
        return answers


def test_an_operation_goes_when_all_have_called_it():
    book = Book(2)
    book.call(0, "a")
    book.call(1, "b")
    assert book.take() == []
    book.call(1, "a")
    (first, go), (second, same) = book.take()
    assert (first, second) == (0, 1)
    assert isinstance(go, Go)
    assert go == same
    assert (go.key, go.whose, len(go.calls)) == ("a", [0, 0], 1)


def test_a_mismatch_names_who_asked_for_what():
    book = Book(3)
    for rank, op in enumerate(["Sum", "Average", "Sum"]):
        book.call(rank, "a", op)
    answers = book.take()
    assert [rank for rank, _ in answers] == [0, 1, 2]
    assert all(isinstance(answer, Fail) for _, answer in answers)
    assert "workers 0, 2 allreduce 'a' of float32 [2] on cpu, op=Sum; worker 1 allreduce" in answers[0][1].why


def test_who_comes_too_late_is_told_so():
    book = Book(2)
    book.call(0, "a")
    book.hear(0, Expire("a", 5))
    book.call(1, "a")
    assert book.take() == [(rank, Fail("a", "worker 1 did not call it within 5 s")) for rank in (0, 1)]
    # The next operation of that name is another one.
    book.call(0, "a")
    book.call(1, "a")
    assert all(isinstance(answer, Go) for _, answer in book.take())


def test_what_needs_a_worker_that_has_left_fails():
    book = Book(3)
    book.call(0, "a")
    book.hear(2, Leave("is gone"))
    book.call(1, "a")
    assert book.take() == [(0, Fail("a", "worker 2 is gone")), (1, Fail("a", "worker 2 is gone"))]


def test_who_has_joined_gives_zeros_to_sums_alone():
    book = Book(2)
    book.call(0, "a")
    book.hear(1, Join())
    (_, go), (rank, _) = book.take()
    assert (go.whose, rank) == ([0, None], 1)
    book.call(0, "b", kind="broadcast")
    [(rank, fail)] = book.take()
    assert (rank, "worker 1 joined" in fail.why) == (0, True)
    book.hear(0, Join())
    assert book.take() == [(0, Joined(0)), (1, Joined(0))]


def any_order():
    names = ["a", "b", "c", "d"]
    order = names if hvd.rank() == 0 else names[::-1]
    handles = {name: hvd.allreduce_async(torch.full((3,), float(ord(name))), name=name, op=hvd.Sum) for name in order}
    return [hvd.synchronize(handles[name]).tolist() for name in names]


def test_names_match_in_any_order(pool):
    size = 3
    expected = [[float(size * ord(name))] * 3 for name in "abcd"]
    assert pool.run(any_order, size=size) == [expected] * size


def twice():
    if hvd.rank() == 1:
        # What is pending on the other worker holds up nothing else.
        hvd.barrier()
        return float(hvd.allreduce(torch.ones(1), name="twice"))
    handle = hvd.allreduce_async(torch.ones(1), name="twice")
    with pytest.raises(ValueError, match="'twice' is in flight"):
        hvd.allreduce_async(torch.ones(1), name="twice")
    hvd.barrier()
    return float(hvd.synchronize(handle))


def test_a_name_in_flight_is_refused(pool):
    assert pool.run(twice, size=2) == [1.0, 1.0]


def one_too_many():
    if hvd.rank() == 0:
        hvd.allreduce(torch.ones(2))
    hvd.allgather(torch.ones(3))


def test_one_unnamed_operation_too_many_is_an_error(pool):
    for outcome in pool.outcomes(one_too_many, size=2):
        assert isinstance(outcome.error, hvd.HorovodInternalError)


def end_early():
    if hvd.rank() == 1:
        return None
    start = time.monotonic()
    with pytest.raises(hvd.HorovodInternalError, match=r"worker [01] has left"):
        hvd.allreduce(torch.ones(1), name="only one calls this")
    return time.monotonic() - start


def test_a_worker_whose_script_has_ended_holds_up_nobody(pool):
    waited, _, _ = pool.run(end_early, size=3)
    assert waited < 10


def uneven():
    losses = [float(hvd.allreduce(torch.ones(1), name=f"loss {step}")) for step in range(hvd.rank() + 1)]
    return hvd.join(), losses


def test_workers_that_are_out_of_data_join(pool):
    last = 2
    assert pool.run(uneven, size=3) == [
        (last, [1.0]),
        (last, [1.0, pytest.approx(2 / 3)]),
        (last, [1.0, pytest.approx(2 / 3), pytest.approx(1 / 3)]),
    ]


def every_kind(index):
    rank, size = hvd.rank(), hvd.size()
    if index % 20 == rank:
        time.sleep(0.01)
    order = range(4) if (index + rank) % 2 else range(3, -1, -1)
    starts = [
        lambda: hvd.allreduce_async(torch.ones(2), name=f"r{index}", op=hvd.Sum),
        lambda: hvd.allgather_async(torch.ones(index % 3 + rank, 2), name=f"g{index}"),
        lambda: hvd.alltoall_async(torch.arange(float(size)), name=f"t{index}"),
        lambda: hvd.reducescatter_async(torch.ones(size + 1), name=f"s{index}", op=hvd.Sum),
    ]
    handles = {place: starts[place]() for place in order}
    results = [hvd.synchronize(handles[place]) for place in range(4)]
    return [float(results[0].sum()), len(results[1]), results[2].tolist(), len(results[3]) + float(results[3].sum())]


def churn(rounds):
    rank, size = hvd.rank(), hvd.size()
    rows = size // size + (rank < 1)
    for index in range(rounds):
        gathered = sum(index % 3 + other for other in range(size))
        assert every_kind(index) == [2.0 * size, gathered, [float(rank)] * size, rows + float(rows * size)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_every_kind_200_times_with_a_sleeping_worker(pool, size):
    pool.run(churn, 200, size=size)


def die_midway(victim, index):
    if hvd.rank() == victim:
        hvd.allreduce_async(torch.ones(1 << index), name="a")
        os._exit(9)
    for name in "abc":
        hvd.allreduce(torch.ones(1 << index), name=name)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_never_hangs_the_others(pool, victim):
    # One whose partner in the engine has failed and stays alive, as a process of the pool does, waits for its time-out.
    for index in range(20):
        outcomes = pool.outcomes(die_midway, victim, index, size=3, timeout=60, env={"HORA_TIMEOUT_SECONDS": "10"})
        for outcome in outcomes:
            if outcome.rank != victim:
                assert isinstance(outcome.error, hvd.HorovodInternalError), outcome
