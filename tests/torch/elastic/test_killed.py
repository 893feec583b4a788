"""Workers of the digits example are killed at random times; the surviving history has each sample once per epoch."""

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


def start(directory, **options):
    directory.mkdir()
    command = [sys.executable, "-m", "hora", "run", "--min-np", "4", "--max-np", "4", str(EXAMPLE), "--"]
    command += ["--epochs", str(EPOCHS), "--record", str(directory), "--checkpoint", str(directory / "weights.pt")]
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
        targets = workers_of(launcher)
        if len(targets) == 4:
            os.kill(pick.choice(targets), signal.SIGKILL)
            killed += 1
        out, _ = launcher.communicate(timeout=200)
        assert launcher.returncode == 0, out
        epochs = history(directory)
        assert sorted(epochs) == list(range(EPOCHS)), out
        for counts in epochs.values():
            assert len(counts) == 1500
            assert set(counts.values()) == {1}, out
        found = torch.load(directory / "weights.pt")
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    assert killed >= 0.8 * runs
