"""Of several workers that fail, the one that failed first is named: not the one that was seen to end first."""

import os

import pytest

from hora.launch import tracebacks
from hora.launch.result import WorkerExit
from hora.launch.supervision import first_failure

# Worker 0 is in a collective, as far as can be without torch: it waits for worker 1 and fails when that one has gone.
PEERS = """
import os, socket, sys, time
address = ("127.0.0.1", int(os.environ["MASTER_PORT"]))
if os.environ["RANK"] == "1":
    server = socket.create_server(address)
    peer, _ = server.accept()
    {cause}
else:
    for _ in range(500):
        try:
            peer = socket.create_connection(address)
            break
        except ConnectionRefusedError:
            time.sleep(0.01)
    if not peer.recv(1):
        {effect}
"""
VICTIM = 'raise RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:4711")'

ALLREDUCE = """
import os, sys
import torch
import torch.distributed as dist
dist.init_process_group("gloo")
tensor = torch.ones(8)
dist.all_reduce(tensor)
if dist.get_rank() == 1:
    {cause}
dist.all_reduce(tensor)
"""


def exit_of(rank, **fields):
    default = {"pid": 1, "status": 1, "signal": None, "traceback": None, "error": None, "lost_connection": False}
    return WorkerExit(**{"rank": rank, **default, "stopped": False, "failed_at": 1.0, "ended_at": 2.0, **fields})


@pytest.mark.parametrize("attempt", range(20))
def test_a_worker_that_raises_is_the_cause(launch, attempt):
    result, told = launch(PEERS.format(cause='raise ValueError("boom")', effect=VICTIM), 2)
    assert (result.first_failure.rank, result.first_failure.error, result.status) == (1, "ValueError: boom", 1)
    assert told == []


@pytest.mark.parametrize("attempt", range(5))
def test_a_cause_that_takes_its_time_to_end_is_found_behind_its_victim(launch, attempt):
    slow = 'peer.close(); time.sleep(0.3); raise ValueError("boom")'
    result, _ = launch(PEERS.format(cause=slow, effect=VICTIM), 2)
    assert (result.first_failure.rank, result.status) == (1, 1)
    assert result.exits[0].ended_at < result.exits[1].ended_at


def test_a_cause_that_does_not_end_by_itself_is_found_all_the_same(launch, monkeypatch):
    monkeypatch.setattr("hora.launch.supervision.WIND_UP_SECONDS", 0.2)
    hangs = 'import atexit; atexit.register(time.sleep, 60); peer.close(); raise ValueError("boom")'
    result, _ = launch(PEERS.format(cause=hangs, effect=VICTIM), 2)
    assert (result.first_failure.rank, result.first_failure.error) == (1, "ValueError: boom")


@pytest.mark.parametrize(
    ("cause", "status"), [("os.kill(os.getpid(), 9)", 137), ("sys.exit(3)", 3), ("os.abort()", 134)]
)
def test_a_worker_that_dies_without_a_word_is_the_cause(launch, cause, status):
    result, _ = launch(PEERS.format(cause=cause, effect=VICTIM), 2)
    assert (result.first_failure.rank, result.status) == (1, status)
    assert result.first_failure.traceback is None


def test_workers_that_raise_at_once_end_by_themselves_and_none_is_shown_but_the_cause(launch, tmp_path):
    code = """
import atexit, os, time
open(f"ready.{os.environ['RANK']}", "w").close()
while sum(name.startswith("ready") for name in os.listdir(".")) < 3:
    time.sleep(0.01)
atexit.register(time.sleep, 0.2 * (1 + int(os.environ["RANK"])))
raise ValueError("boom")
"""
    result, told = launch(code, 3, cwd=tmp_path)
    assert [(exit.error, exit.stopped) for exit in result.exits] == [("ValueError: boom", False)] * 3
    assert told == []


def test_a_traceback_that_a_worker_survived_is_shown_when_another_fails(launch, monkeypatch):
    monkeypatch.setattr("hora.launch.supervision.WIND_UP_SECONDS", 0.2)
    code = """
import os, time, traceback
if os.environ["RANK"] == "0":
    try:
        1 / 0
    except ZeroDivisionError:
        traceback.print_exc()
    time.sleep(60)
time.sleep(0.3)
raise ValueError("boom")
"""
    result, told = launch(code, 2)
    assert (result.first_failure.rank, result.exits[0].stopped) == (1, True)
    assert told.of(0, "stderr")[-1] == "ZeroDivisionError: division by zero"


def test_an_abort_that_tells_of_a_lost_connection_is_a_victims(launch):
    watchdog = "print('  what():  NCCL error: remote process exited', file=sys.stderr); os.abort()"
    slow = "peer.close(); time.sleep(0.3); sys.exit(3)"
    result, _ = launch(PEERS.format(cause=slow, effect=watchdog), 2)
    assert (result.first_failure.rank, result.status) == (1, 3)


def test_a_worker_that_warned_of_a_refused_connection_and_is_killed_is_no_victim(launch):
    warns = "print('[W1122] connect: Connection refused', file=sys.stderr); os.kill(os.getpid(), 9)"
    result, _ = launch(PEERS.format(cause=warns, effect=VICTIM), 2)
    assert (result.first_failure.rank, result.status) == (1, 137)


def test_a_worker_left_by_one_that_ended_well_is_the_only_failure(launch):
    result, _ = launch(PEERS.format(cause="sys.exit(0)", effect=VICTIM), 2)
    assert (result.first_failure.rank, result.first_failure.lost_connection, result.status) == (0, True, 1)


def test_an_exception_that_ends_in_an_abort_counts_as_an_exception(launch):
    result, _ = launch("import atexit, os; atexit.register(os.abort); raise ValueError('boom')", 1)
    assert (result.status, result.first_failure.signal) == (1, 6)
    assert result.first_failure.how == "exit status 1, SIGABRT while it ended"


def test_the_cause_is_chosen_by_kind_and_then_by_time():
    victim = exit_of(0, lost_connection=True, failed_at=0.5)
    late, early = exit_of(1, failed_at=2.0), exit_of(2, failed_at=1.5)
    stopped = exit_of(3, stopped=True, failed_at=1.0)
    well = exit_of(4, status=0, failed_at=None)
    assert first_failure([victim, late, early, stopped, well]) == early
    assert first_failure([victim, stopped, well]) == stopped
    assert first_failure([victim, well]) == victim
    assert first_failure([stopped, well]) is None
    assert first_failure([]) is None


def test_a_victims_other_words_are_shown_in_the_end(launch):
    effect = f"import atexit; atexit.register(print, 'saved', file=sys.stderr); {VICTIM}"
    result, told = launch(PEERS.format(cause="peer.close(); time.sleep(0.3); raise ValueError", effect=effect), 2)
    assert result.first_failure.rank == 1
    assert told.of(0, "stderr") == ["saved"]


@pytest.fixture
def patient(monkeypatch):
    """On a busy machine a worker takes longer to end than a traceback is held for otherwise."""
    monkeypatch.setattr(tracebacks, "HOLD_SECONDS", 60.0)


@pytest.mark.usefixtures("patient")
def test_a_worker_that_raises_while_the_other_is_in_an_allreduce_is_the_cause(launch):
    result, told = launch(ALLREDUCE.format(cause='raise ValueError("boom")'), 2, timeout=60)
    assert (result.first_failure.rank, result.first_failure.error, result.status) == (1, "ValueError: boom", 1)
    assert "Traceback" not in "".join(line.text for line in told)


@pytest.mark.slow
@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("cause", ['raise ValueError("boom")', "os.kill(os.getpid(), 9)"])
@pytest.mark.parametrize("attempt", range(20))
def test_the_cause_in_an_allreduce_is_found_every_time(launch, cause, attempt):
    result, told = launch(ALLREDUCE.format(cause=cause), 2, timeout=60)
    assert (result.first_failure.rank, result.status) == (1, 1 if "raise" in cause else 137)
    assert "Traceback" not in "".join(line.text for line in told)


@pytest.mark.slow
def test_many_launches_in_a_row(launch):
    code = "import time, torch, torch.distributed as dist; dist.init_process_group('gloo'); t = torch.ones(8)\n"
    code += "dist.all_reduce(t); dist.barrier(); time.sleep(0.05); dist.destroy_process_group(); print(int(t[0]))"
    for _ in range(int(os.environ.get("HORA_TEST_LAUNCHES", "50"))):
        result, told = launch(code, 2, timeout=60)
        assert (result.status, told.of(0), told.of(1)) == (0, ["2"], ["2"])
