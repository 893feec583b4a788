"""Every path of collectives 200 times with a worker that sleeps, and with one that is killed: never a hang.

The kills take half an hour: HORA_TEST_DEATHS=200 has them all.
"""

from __future__ import annotations

import os
import random
import sys
import time

import pytest
from mortals import kill_one
from paths import PATHS

import hora.torch as hvd

ROUNDS = 200
DEATHS = int(os.environ.get("HORA_TEST_DEATHS", "20"))
"""How often for each path; 2, 3 and 4 workers share them."""

KNOWN_SECONDS = 10.0
"""After so long each survivor knows, whatever HORA_TIMEOUT_SECONDS says; seen were 3 s."""

CONNECTING_SECONDS = 45.0
"""The exception: a process set whose member dies while the engine connects them, and waits for it twice."""

SIZES = (2, 3, 4)
BY_NAME = {path.__name__: path for path in PATHS}


def share(size, rounds):
    """How many of the rounds are had with so many workers."""
    return len(range(size - SIZES[0], rounds, len(SIZES)))


def with_sleep(name, rounds):
    """Workers sleep in turn before a round, in which the others then wait."""
    pauses = random.Random(hvd.rank())
    for index in range(rounds):
        if index % hvd.size() == hvd.rank():
            time.sleep(pauses.choice((0.001, 0.005, 0.02)))
        BY_NAME[name](index)


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_NAME)
def test_a_sleeping_worker_is_waited_for(pool, name):
    for size in SIZES:
        pool.run(with_sleep, name, share(size, ROUNDS), size=size, timeout=120)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has imported torch")
@pytest.mark.parametrize("name", BY_NAME)
def test_a_killed_worker_is_an_error_for_the_others(name):
    limit = CONNECTING_SECONDS if name == "process_sets" else KNOWN_SECONDS
    seconds = []
    for size in SIZES:
        for seed in range(share(size, DEATHS)):
            found = kill_one(BY_NAME[name], size, seed, limit)
            case = f"{name}, {size} workers, seed {seed}"
            assert not found.hung, f"{case}: workers {found.hung} hung"
            for rank, error in found.errors.items():
                assert isinstance(error, hvd.HorovodInternalError), f"{case}: worker {rank}: {error!r}"
            seconds.append(found.seconds)
    seconds.sort()
    median, late = seconds[len(seconds) // 2], sum(one > KNOWN_SECONDS for one in seconds)
    most = f"{seconds[-1]:.1f} at most; {late} late"
    print(f"\n{name}: {DEATHS} kills, the last survivor knew after {median:.2f} s, {most}")
