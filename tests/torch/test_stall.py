"""Operations that wait for workers are reported by name, and end where the user says how long they may wait."""

from __future__ import annotations

import contextlib
import io
import math
import time

import pytest
import torch

import hora.torch as hvd
from hora.errors import HoraError
from hora.torch.calls import Call, encode
from hora.torch.coordinator import Ask, Coordinator, Fail, Join
from hora.torch.stall import Limits, Stalls, read_limits


class Clock:
    """Worker 0's book of three workers, at a time that the test sets."""

    def __init__(self, **limits):
        self.now = 0.0
        self.answers = []
        self._coordinator = Coordinator(3, lambda rank, answer: self.answers.append((rank, answer)), lambda: self.now)
        self._stalls = Stalls(Limits(**limits))

    def call(self, rank, name):
        self._coordinator.hear(rank, Ask(name, [0, 1, 2], encode(Call("allreduce", name, [], {"op": "Sum"}))))

    def join(self, rank):
        self._coordinator.hear(rank, Join())

    def look(self, now):
        self.now = now
        return self._stalls.look(self._coordinator, now)


def test_a_report_names_the_operation_and_the_workers():
    clock = Clock(report=60)
    clock.call(0, "loss")
    clock.call(2, "loss")
    assert clock.look(59.9) == []
    [line] = clock.look(60)
    assert line == "hora: stalled for 60 s: allreduce 'loss', op=Sum: workers 0, 2 called it, worker 1 did not"


def test_it_comes_again_when_the_wait_has_doubled():
    clock = Clock(report=60)
    clock.call(0, "loss")
    assert [now for now in range(0, 600, 10) if clock.look(now)] == [60, 120, 240, 480]


def test_operations_that_wait_for_the_same_workers_share_a_line():
    clock = Clock(report=60)
    for name in "abc":
        clock.call(0, name)
    clock.call(1, "d")
    assert clock.look(60) == [
        "hora: stalled for 60 s: allreduce 'a', op=Sum and 2 more operations: worker 0 called it, workers 1, 2 did not",
        "hora: stalled for 60 s: allreduce 'd', op=Sum: worker 1 called it, workers 0, 2 did not",
    ]


def test_the_next_operation_of_a_name_starts_from_zero():
    clock = Clock(report=60)
    clock.call(0, "loss")
    assert clock.look(60)
    for rank in (1, 2, 0):
        clock.call(rank, "loss")
    assert clock.look(100) == []
    assert clock.look(120)


def test_a_worker_that_has_joined_is_not_waited_for():
    clock = Clock(report=60)
    clock.call(0, "loss")
    clock.join(1)
    [line] = clock.look(60)
    assert line.endswith("worker 0 called it, worker 2 did not")


def test_after_the_second_limit_all_fail():
    clock = Clock(report=60, end=90)
    clock.call(0, "loss")
    assert clock.look(89)
    assert clock.look(90) == []
    why = "stalled: workers 1, 2 did not call it within 90 s (HORA_STALL_SHUTDOWN_SECONDS)"
    assert clock.answers == [(0, Fail("loss", why))]
    clock.call(2, "loss")
    assert clock.answers[1:] == [(2, Fail("loss", why))]


@pytest.mark.parametrize(
    ("variables", "limits"),
    [
        ({}, Limits(60, math.inf)),
        ({"HOROVOD_STALL_CHECK_TIME_SECONDS": "5", "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": "7"}, Limits(5, 7)),
        ({"HORA_STALL_SECONDS": "4", "HOROVOD_STALL_CHECK_TIME_SECONDS": "5"}, Limits(4, math.inf)),
        ({"HORA_STALL_SECONDS": "0", "HORA_STALL_SHUTDOWN_SECONDS": "9"}, Limits(math.inf, 9)),
        ({"HOROVOD_STALL_CHECK_DISABLE": "1", "HORA_STALL_SECONDS": "4"}, Limits()),
        ({"HOROVOD_STALL_CHECK_DISABLE": "0"}, Limits(60, math.inf)),
    ],
)
def test_variables_say_how_long(monkeypatch, variables, limits):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert read_limits() == limits


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_what_is_no_number_of_seconds_is_refused(monkeypatch, text):
    monkeypatch.setenv("HORA_STALL_SECONDS", text)
    with pytest.raises(HoraError, match="HORA_STALL_SECONDS"):
        read_limits()


def come_late():
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        if hvd.rank() == 1:
            time.sleep(1)
        hvd.allreduce(torch.ones(2), name="loss")
    return said.getvalue()


def test_worker_0_reports_a_late_worker(pool):
    said, nothing = pool.run(come_late, size=2, env={"HORA_STALL_SECONDS": "0.3"})
    assert "allreduce 'loss' of float32 [2] on cpu, op=Average" in said
    assert "worker 0 called it, worker 1 did not" in said
    assert nothing == ""


def never_come():
    if hvd.rank() == 0:
        time.sleep(1)
    start = time.monotonic()
    try:
        hvd.allgather(torch.ones(2), name="metrics")
    finally:
        assert time.monotonic() - start < 10


def test_a_stall_ends_the_operation_on_every_worker(pool):
    env = {"HORA_STALL_SECONDS": "0", "HORA_STALL_SHUTDOWN_SECONDS": "0.4"}
    for rank, outcome in enumerate(pool.outcomes(never_come, size=3, env=env)):
        assert isinstance(outcome.error, hvd.HorovodInternalError)
        assert str(outcome.error).startswith(f"worker {rank}: allgather 'metrics'")
        assert "stalled: worker 0 did not call it within 0.4 s" in str(outcome.error)
