"""What torch's groups do after a failure, which decides that a failure leads to new processes (decision 15)."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist

import hora.torch as hvd


def fails():
    """Whether the group of all workers fails."""
    try:
        dist.all_reduce(torch.ones(2))
    except RuntimeError:
        return True
    return False


def one_comes_late():
    """Return whether a collective that one worker comes too late for fails, and whether those after it do."""
    time.sleep(2 * hvd.rank())
    first = fails()
    hvd.elastic.ObjectState(step=0).restore()  # a rollback of what the worker holds mends no connection
    return [first, fails(), fails()]


def test_after_a_time_out_a_group_fails_for_good(pool):
    assert pool.run(one_comes_late, size=2, env={"HORA_TIMEOUT_SECONDS": "1"}) == [[True] * 3] * 2


def test_in_a_new_round_the_same_processes_work_again(pool):
    pool.run(one_comes_late, size=2, env={"HORA_TIMEOUT_SECONDS": "1"})
    assert pool.run(fails, size=2) == [False, False]
