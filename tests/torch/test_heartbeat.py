"""What a worker notes of itself for the launcher, and the file that tells it."""

import json
import os
import subprocess
import sys
import time

import pytest

from hora.torch import heartbeat


@pytest.fixture
def blank(monkeypatch):
    """A worker that has noted nothing yet."""
    for name, value in (("_steps", {}), ("_waits", {}), ("_stepped_at", None), ("_waited", 0.0)):
        monkeypatch.setattr(heartbeat, name, value)
    monkeypatch.setattr(heartbeat, "_own_seconds", heartbeat.deque(maxlen=20))
    monkeypatch.setattr(heartbeat, "_data", {"samples": 0, "epoch": None, "batch": None, "batches": None})


@pytest.mark.usefixtures("blank")
def test_a_wait_is_told_while_it_lasts_and_the_outer_one_says_it():
    with heartbeat.waiting("allreduce 'loss'"), heartbeat.waiting("its engine"):
        assert heartbeat.state()["waiting"]["for"] == "allreduce 'loss'"
    assert heartbeat.state()["waiting"] is None


@pytest.mark.usefixtures("blank")
def test_a_steps_own_time_leaves_waits_out(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    for _ in range(21):
        now[0] += 0.3
        with heartbeat.waiting("gradients"):
            now[0] += 5.0
        heartbeat.stepped(0)
        heartbeat.stepped(1)  # a second optimizer's, which makes no step shorter
    told = heartbeat.state()
    assert told["step_seconds"] == pytest.approx(0.3)
    assert told["steps"] == 21


@pytest.mark.usefixtures("blank")
def test_samples_add_up_and_the_place_is_the_last_one():
    heartbeat.handed_out(32, 1, 1, 4)
    heartbeat.handed_out(31, 1, 2, 4)
    told = heartbeat.state()
    assert (told["samples"], told["epoch"], told["batch"], told["batches"]) == (63, 1, 2, 4)


SCRIPT = """
import time
from hora.torch import heartbeat
import sys
print("imported", flush=True)  # which takes a busy machine as long as it likes
heartbeat.start()
heartbeat.start()
def wait():
    with heartbeat.waiting("init"):
        sys.stdin.read()
wait()
"""


def test_the_file_is_written_by_a_thread_and_a_signal_tells_the_stacks(tmp_path):
    """While the script sleeps."""
    from hora.launch import heartbeats, stacks

    path = tmp_path / "heartbeat-0-0"
    env = {**os.environ, "HORA_HEARTBEAT": str(path)}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"imported\n"
            end = time.monotonic() + 30.0
            while (beat := heartbeats.read(path.read_bytes() if path.exists() else b"")) is None or not beat.waits_for:
                assert time.monotonic() < end
                assert process.poll() is None
                time.sleep(0.02)
            assert beat.waits_for == "init"
            assert json.loads(path.read_text())["pid"] == process.pid
            assert beat.stacks is not None
            for _ in range(2):
                told = stacks.take(process.pid, beat.stacks)
                assert "in wait" in stacks.main_thread(told)
                assert "in _beat" in told
                assert "in _beat" not in stacks.main_thread(told)
            assert process.stdin is not None
            assert not beat.ending
            process.stdin.close()
            process.wait(60)
            assert (last := heartbeats.read(path.read_bytes())) is not None
            assert last.ending
        finally:
            process.kill()
