"""Who waits for whom, who is frozen and who is slow, by what workers say of themselves."""

import json
import time

import pytest

from hora.launch import stacks
from hora.launch.heartbeats import Heartbeat, read
from hora.launch.live import Live, troubles
from hora.launch.result import Line
from hora.launch.stalls import find_stall
from hora.launch.vitals import Vital
from hora.launch.watch import Patience, Watch, patience


def vital(rank, waits=None, waited=0.0, steps=12, **more):
    beat = Heartbeat(steps, 64 * steps, 1, steps, 50, more.pop("step_seconds", None), waits, waited)
    return Vital(rank, f"worker {rank}", **{"beat": beat, "state": "S", **more})


class Workers:
    """Workers whose heartbeats a test makes up."""

    def __init__(self, size):
        self.said = [{} for _ in range(size)]
        self.each = [Worker(rank, said) for rank, said in enumerate(self.said)]


class Worker:
    def __init__(self, rank, said):
        self.rank, self.who, self.said = rank, f"worker {rank}", said
        self.ended_at, self.condemned, self.frozen = None, None, False

    def heartbeat(self):
        beat = {"steps": 3, "samples": 0, "epoch": None, "batch": None, "batches": None, "step_seconds": None}
        return json.dumps({**beat, "waiting": None, "stacks": None, **self.said}).encode()

    def state(self):
        return "T" if self.frozen else "S"

    def stacks(self):
        return STACKS

    def condemn(self, why):
        self.condemned = why


STACKS = """Thread 0x1 (most recent call first):
  File "/home/me/other.py", line 3 in wait

Current thread 0x2 (most recent call first):
  File "/env/site-packages/torch/nn.py", line 5 in forward
  File "/home/me/train.py", line 41 in augment
  File "/home/me/train.py", line 60 in <module>
"""


@pytest.fixture
def watch(tmp_path, monkeypatch):
    monkeypatch.setattr("hora.launch.vitals.SECONDS", 0.0)
    notices = []
    watch = Watch(Patience(60.0, 120.0), notices.append, lambda vitals: None, tmp_path)

    def look(workers):
        """Look, until what was asked for in the background is there."""
        for _ in range(200):
            watch.look(workers.each)
            if watch._taking is None:
                return notices
            time.sleep(0.01)
        raise AssertionError("the stacks did not come")

    watch.notices, watch.through = notices, look
    return watch


@pytest.mark.parametrize(
    ("vitals", "missing", "said"),
    [
        ([vital(0, "a", 70), vital(1), vital(2, "a", 65)], (1,), "worker 1 is not there"),
        ([vital(0, "a", 70), vital(1, "a", 70, state="T")], (1,), "worker 1 is stopped"),
        ([vital(0, "a", 70), vital(1, "a", 1, silent=61.0)], (1,), "worker 1 has given no sign of life for 61 s"),
        ([vital(0, "hvd.init()", 70), Vital(1, "worker 1", state="S")], (1,), "worker 1 has not called hvd.init()"),
        ([vital(0, "a", 70), vital(1, ended=True)], (), "worker 1 has ended"),
        ([vital(0, "a", 70), vital(1, "b", 70)], (), "wait for each other"),
        ([vital(0, "a", 70), vital(1, "a", 70)], (), "the connection between them carries nothing"),
    ],
)
def test_a_stall_names_who_is_waited_for(vitals, missing, said):
    stall = find_stall(vitals)
    assert stall.missing == missing
    assert said in stall.text
    assert "worker 0 waits in" in stall.text or "workers 0, " in stall.text
    assert stall.seconds >= 65


def test_nobody_who_waits_is_no_stall():
    assert find_stall([vital(0), vital(1)]) is None
    assert find_stall([vital(0, "join", 300), vital(1)]) is None  # out of data
    assert find_stall([vital(0, "join", 300), vital(1, "a", 70), vital(2)]).missing == (2,)


def test_a_stall_is_told_with_the_place_of_the_missing_worker_and_again_after_twice_the_time(watch, tmp_path):
    workers = Workers(2)
    workers.said[0]["waiting"] = {"for": "allreduce 'loss'", "seconds": 30.0}
    assert not watch.through(workers)
    workers.said[0]["waiting"] = {"for": "allreduce 'loss'", "seconds": 61.0}
    [told] = watch.through(workers)
    assert "worker 0 waits in allreduce 'loss'" in told
    assert "worker 1 is at train.py:41 in augment" in told
    assert "other.py" in (tmp_path / "stacks-1.txt").read_text()
    workers.said[0]["waiting"] = {"for": "allreduce 'loss'", "seconds": 90.0}
    assert len(watch.through(workers)) == 1
    assert workers.each[1].condemned is None
    workers.said[0]["waiting"] = {"for": "allreduce 'loss'", "seconds": 126.0}
    assert len(watch.through(workers)) == 2
    assert workers.each[1].condemned == "killed, as the others had waited for 126 s"
    assert workers.each[0].condemned is None


def test_a_process_that_is_stopped_is_told_once_and_again_when_it_is_back(watch, monkeypatch):
    monkeypatch.setattr("hora.launch.watch.SILENT_SECONDS", 0.2)
    workers = Workers(2)
    watch.through(workers)
    workers.each[1].frozen = True
    end = time.monotonic() + 5.0
    while not watch.notices:
        assert time.monotonic() < end
        workers.said[0]["steps"] = time.monotonic_ns()  # it beats
        watch.through(workers)
    assert watch.notices == ["worker 1 is stopped (SIGSTOP or a debugger): no heartbeat for 0 s"]
    workers.said[1]["steps"] = 4
    assert watch.through(workers)[1:] == ["worker 1 is back"]


def test_a_slow_worker_is_named_once(watch):
    workers = Workers(3)
    for said, seconds in zip(workers.said, (0.2, 0.41, 0.22), strict=True):
        said["step_seconds"] = seconds
    watch.through(workers)
    [told] = watch.through(workers)
    assert told.startswith("worker 1 computes 2.0 times as long per step as the others")


def test_stacks_on_request_show_the_main_threads(watch, tmp_path):
    watch.ask_for_stacks()
    [told] = watch.through(Workers(2))
    assert told.count("line 41 in augment") == 2
    assert "other.py" not in told
    assert f"stacks of all workers: {tmp_path}/stacks-1.txt" in told


def test_a_process_that_ends_has_no_stacks():
    assert stacks.take(2**22 + 1, None) == "(no stacks: the process is gone)\n"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"steps": 1}', b"\xff"])
def test_what_is_no_heartbeat_is_none(data):
    assert read(data) is None


def test_the_live_lines(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("hora.launch.live.time.monotonic", lambda: now[0])
    shown, told = [], []
    on_terminal, piped = Live(shown.append, told.append), Live(None, told.append)
    for step in range(0, 100, 10):
        vitals = [vital(0, steps=step), vital(1, "a", 4.0 if step == 90 else 0.0, steps=step)]
        on_terminal.show(vitals)
        piped.show(vitals)
        now[0] += 4.0
    assert shown[-1] == [
        "step 90 · epoch 1, batch 90/50 · 320 samples/s · 2.5 steps/s · 2 workers",
        "[1] has waited for 4 s",
    ]
    assert shown[-2] == ["step 80 · epoch 1, batch 80/50 · 320 samples/s · 2.5 steps/s · 2 workers"]
    assert told == ["step 80 · epoch 1, batch 80/50 · 320 samples/s · 2.5 steps/s · 2 workers"]


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("epoch 3: train loss 0.4564, test loss 0.5, accuracy 91.0%", "train loss 0.4564, test loss 0.5"),
        ("Train Epoch: 1 [640/60000 (1%)]\tLoss: 2.305170", "loss 2.305170"),
        ("[Epoch 0/2] [Batch 3/9] [D loss: -1.5e-3] [G loss: 0.69]", "d loss -1.5e-3, g loss 0.69"),
        (" 40%|####      | 40/100 [00:01<00:02, loss=nan]", "loss nan"),
        ("tensor loss: tensor(0.25, grad_fn=<MeanBackward0>)", "tensor loss 0.25"),
        ("loss of the connection to 10.0.0.1; lossless 3", ""),
    ],
)
def test_the_live_line_has_the_losses_that_the_script_last_printed(monkeypatch, printed, shown):
    lines = []
    live = Live(lines.append, lines.append)
    live.read(Line(0, "stdout", printed))
    live.read(Line(0, "stdout", "saved model.pt"))
    live.show([vital(0, steps=4)])
    assert lines == [[" · ".join(["step 4", "epoch 1, batch 4/50", "1 worker", *([shown] if shown else [])])]]


@pytest.mark.parametrize(
    ("variables", "limits"),
    [
        ({}, Patience(60.0, 0.0)),
        ({"HOROVOD_STALL_CHECK_TIME_SECONDS": "5", "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": "7"}, Patience(5.0, 7.0)),
        ({"HORA_STALL_SECONDS": "0", "HORA_STALL_SHUTDOWN_SECONDS": "9"}, Patience(0.0, 9.0)),
        ({"HOROVOD_STALL_CHECK_DISABLE": "1", "HORA_STALL_SHUTDOWN_SECONDS": "9"}, Patience(0.0, 0.0)),
        ({"HOROVOD_STALL_CHECK_DISABLE": "0"}, Patience(60.0, 0.0)),
    ],
)
def test_variables_say_how_long_workers_may_wait(variables, limits):
    assert patience(variables) == limits


def test_one_that_ends_is_not_missed(watch, monkeypatch):
    monkeypatch.setattr("hora.launch.watch.SILENT_SECONDS", 0.0)
    workers = Workers(1)
    workers.said[0]["ending"] = True
    watch.through(workers)
    time.sleep(0.01)
    assert watch.through(workers) == []
    workers.said[0].clear()
    watch.through(workers)
    time.sleep(0.01)
    assert watch.through(workers) == ["worker 0 gives no sign of life: no heartbeat for 0 s"]


def test_troubles_are_few_words():
    assert troubles([vital(0), vital(1)]) == ""
    assert troubles([vital(rank, ended=True) for rank in range(6)]).endswith("[3] has ended and 2 more")
