"""The timeline is a file of Chrome's trace events, complete whenever it is read, with all workers' operations."""

from __future__ import annotations

import json
import os
import time
from collections import Counter

import pytest
import torch
from loops import data, network, own, small_buckets
from torch.nn import functional as F

import hora.torch as hvd
from hora.errors import HoraError
from hora.torch.recording import Recording, recording
from hora.torch.timeline import TraceFile

PHASES = {"b": {"cat", "id2"}, "e": {"cat", "id2"}, "X": {"cat", "dur"}, "i": {"cat", "s"}, "M": {"args"}}


def check(events):
    """Check events against what the trace event format demands of each kind; return the names of what did not end."""
    running = {}
    for event in sorted(events, key=lambda event: event["ts"]):
        assert {"ph", "name", "ts", "pid", "tid"} | PHASES[event["ph"]] <= set(event)
        assert event["ts"] >= 0
        assert event.get("dur", 0) >= 0
        if event["ph"] in "be":
            key = event["pid"], event["cat"], event["id2"]["local"]
            if event["ph"] == "b":
                running.setdefault(key, []).append(event["name"])
            else:
                assert running[key].pop() == event["name"]
    return [name for names in running.values() for name in names]


def train(folder):
    path = f"{folder}/timeline-{hvd.rank()}.json"
    hvd.start_timeline(path, mark_cycles=True)
    hvd.barrier()
    model = network()
    with small_buckets():
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
    for x, y in data(2):
        optimizer.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        optimizer.step()
    names = ["a", "b"] if hvd.rank() else ["b", "a"]
    handles = [hvd.allreduce_async(torch.ones(2), name=name) for name in names]
    for handle in handles:
        hvd.synchronize(handle)
    hvd.stop_timeline()
    hvd.allreduce(torch.ones(1), name="after")
    return os.path.exists(path), recording() is None


def test_it_shows_what_all_workers_do(pool, tmp_path):
    assert [exists for exists, _ in pool.run(train, str(tmp_path), size=2)] == [True, False]
    events = json.loads((tmp_path / "timeline-0.json").read_text())
    # Worker 1 goes on until it hears that it is to record no more, which may be before it has seen the last ones end.
    open_ones = {"allreduce.a", "allreduce.b", "ALLREDUCE", "allreduce.after", "NEGOTIATE_ALLREDUCE"}
    assert set(check(events)) <= open_ones
    assert (0, "allreduce.after") not in {(event["pid"], event["name"]) for event in events}
    begun = Counter((event["pid"], event["name"].split(" ")[0]) for event in events if event["ph"] == "b")
    for rank in (0, 1):
        assert begun[rank, "allreduce.a"] == begun[rank, "allreduce.b"] == 1
        assert begun[rank, "NEGOTIATE_ALLREDUCE"] >= 2
        # Two steps, and more than one bucket in each.
        assert begun[rank, "gradients.bucket"] == begun[rank, "QUEUE"] >= 4
        marks = [event["name"] for event in events if event["ph"] == "i" and event["pid"] == rank]
        assert "CYCLE_START" in marks
        assert sum(mark.startswith("step ") for mark in marks) == 2
        assert any(event["ph"] == "X" and event["pid"] == rank for event in events)


def die_recording(path):
    assert recording() is not None or hvd.rank()
    hvd.allreduce(torch.ones(2), name="before")
    time.sleep(0.5)
    os._exit(9)


def test_it_is_complete_after_a_kill(pool, tmp_path):
    path = tmp_path / "timeline.json"
    pool.outcomes(die_recording, str(path), size=2, env={"HOROVOD_TIMELINE": str(path)}, timeout=20)
    events = json.loads(path.read_text())
    assert {event["pid"] for event in events if event["name"] == "allreduce.before"} == {0, 1}
    assert not any(event["name"] == "CYCLE_START" for event in events)


def nowhere(path):
    with pytest.raises(HoraError, match="cannot be written"):
        hvd.start_timeline(path)
    hvd.stop_timeline()
    return recording()


def test_a_file_that_cannot_be_written_is_an_error(pool, tmp_path):
    assert pool.run(nowhere, str(tmp_path / "no" / "timeline.json"), size=1) == [None]


def test_without_a_world_there_is_none():
    with pytest.raises(ValueError, match="init"):
        hvd.start_timeline("timeline.json")
    with pytest.raises(ValueError, match="init"):
        hvd.stop_timeline()


def test_the_file_is_whole_after_each_write(tmp_path):
    path = tmp_path / "timeline.json"
    file = TraceFile(path)
    assert json.loads(path.read_text()) == []
    for lines in (["1"], ["2", "3"], [], ["4"]):
        file.write(lines)
        json.loads(path.read_text())
    file.close()
    file.write(["5"])
    assert json.loads(path.read_text()) == [1, 2, 3, 4]


def test_an_operation_that_fails_says_why():
    lines = []
    record = Recording(3, lines.extend, 60, mark_cycles=False)
    span = record.begin("allreduce.loss", "allreduce")
    span.phase("NEGOTIATE_ALLREDUCE")
    span.end("worker 1 is gone")
    span.end()
    record.stop()
    events = [json.loads(line) for line in lines]
    assert check(events) == []
    assert events[-1]["args"] == {"error": "worker 1 is gone"}
    assert {event["pid"] for event in events} == {3}
