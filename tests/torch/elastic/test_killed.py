"""Workers of the digits example are killed, or their number changes: the history has each sample once per epoch.

They are killed at random times, while they commit, and while they save.
"""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "vision" / "digits_elastic.py"
EPOCHS = 4
# Other numbers of workers round otherwise, and a maximum that two pixels share then takes the other one: in float32
# that grows beyond any bound, in float64 it does not happen.
IN_FLOAT64 = f"""
import runpy, sys
import torch
sys.path.insert(0, {str(EXAMPLE.parent)!r})
import digits
torch.set_default_dtype(torch.float64)
sets = [torch.utils.data.TensorDataset(each[:][0].double(), each[:][1]) for each in digits.digits()]
digits.digits = lambda: sets
runpy.run_path({str(EXAMPLE)!r}, run_name="__main__")
"""


def start(directory, *hosts, epochs=EPOCHS, script=EXAMPLE, **options):
    directory.mkdir()
    command = [sys.executable, "-m", "hora", "run", *(hosts or ("--min-np", "4", "--max-np", "4")), str(script), "--"]
    command += ["--epochs", str(epochs), "--record", str(directory), "--checkpoint", str(directory / "weights.pt")]
    return subprocess.Popen(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


def workers_of(launcher):
    """The processes that the launcher started and that run the example."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == launcher.pid and EXAMPLE.name.encode() in command:
            found.append(int(entry.name))
    return found


def history(directory):
    """For each epoch, how often each sample was trained on in the steps that count."""
    steps = collections.defaultdict(lambda: collections.defaultdict(list))
    for path in directory.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            generation, epoch, step, samples = json.loads(line)
            steps[step][generation].append((epoch, samples))
    epochs = collections.defaultdict(collections.Counter)
    for generations in steps.values():
        for epoch, samples in generations[max(generations)]:
            epochs[epoch].update(samples)
    return epochs


def variables(pid):
    """The environment that a process was started with."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(pair.decode().split("=", 1) for pair in pairs if b"=" in pair)


def is_there(place, pattern):
    """Whether a file is there now; many a look catches one that is about to be renamed."""
    return lambda: bool(list(place.glob(pattern))) if place.is_dir() else False


def kill_one(launcher, directory, aim, pick):
    """Kill a worker once what is aimed at goes on; return whether all four were there."""
    targets = workers_of(launcher)
    if len(targets) < 4:
        return False
    found = {int(variables(pid)["RANK"]): pid for pid in targets}
    env = variables(targets[0])
    goes_on = {
        "any time": lambda: True,
        "commit to memory": is_there(Path(env["HORA_COMMIT_DIR"]), "*.tmp"),
        "commit to disk": is_there(Path(env["HORA_RUN_DIR"]) / "commits", "*.tmp"),
        "the last save": is_there(directory, "weights.pt"),
    }[aim]
    while launcher.poll() is None and not goes_on():
        pass
    try:
        os.kill(found[pick.randrange(4) if aim == "any time" else 0], signal.SIGKILL)
    except ProcessLookupError:  # it has ended in the meantime
        return False
    return True


def check(directory, number, out):
    """See that each epoch has each sample once."""
    epochs = history(directory)
    assert sorted(epochs) == list(range(number)), out
    for counts in epochs.values():
        assert len(counts) == 1500
        assert set(counts.values()) == {1}, out


AIMS = ("any time", "commit to memory", "any time", "commit to disk", "the last save")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_history_is_exact_after_kills(tmp_path):
    calm = start(tmp_path / "calm")
    out, _ = calm.communicate(timeout=200)
    assert calm.returncode == 0, out
    expected = torch.load(tmp_path / "calm" / "weights.pt")
    killed, runs = 0, int(os.environ.get("HORA_TEST_KILLS", "10"))
    for seed in range(runs):
        pick = random.Random(seed)
        directory = tmp_path / str(seed)
        launcher = start(directory)
        end = time.monotonic() + 60
        while not list(directory.glob("0-*.jsonl")) and launcher.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(pick.uniform(0, 1.0))
        killed += kill_one(launcher, directory, AIMS[seed % len(AIMS)], pick)
        out, _ = launcher.communicate(timeout=200)
        assert launcher.returncode == 0, out
        check(directory, EPOCHS, out)
        found = torch.load(directory / "weights.pt")
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    assert killed >= 0.8 * runs


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_history_is_exact_when_workers_come_and_go(tmp_path):
    """From 2 to 4 and then to 1, as a script tells the hosts, without a hand."""
    number = 16
    example = tmp_path / "in_float64.py"
    example.write_text(IN_FLOAT64)
    calm = start(tmp_path / "calm", "-n", "1", epochs=number, script=example)
    out, _ = calm.communicate(timeout=200)
    assert calm.returncode == 0, out
    slots = tmp_path / "slots"
    slots.write_text("localhost:2\n")
    script = tmp_path / "hosts.sh"
    script.write_text(f"#!/bin/sh\ncat {slots}\n")
    script.chmod(0o755)
    directory = tmp_path / "changing"
    launcher = start(
        directory,
        "--host-discovery-script",
        str(script),
        "--min-np",
        "1",
        "--max-np",
        "4",
        epochs=number,
        script=example,
    )
    for generation, told in enumerate(("localhost:4\n", "localhost:1\n")):
        end = time.monotonic() + 60
        while not list(directory.glob(f"{generation}-*.jsonl")) and launcher.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        slots.write_text(told)
    out, _ = launcher.communicate(timeout=200)
    assert launcher.returncode == 0, out
    check(directory, number, out)
    assert {path.name.split("-")[0] for path in directory.glob("*.jsonl")} == {"0", "1", "2"}, out
    assert [len(list(directory.glob(f"{generation}-*.jsonl"))) for generation in range(3)] == [2, 4, 1]
    expected, found = (torch.load(tmp_path / name / "weights.pt") for name in ("calm", "changing"))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-11)
