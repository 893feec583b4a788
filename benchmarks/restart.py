"""How long an elastic job takes from the death of a worker to its next step, and what that time goes into.

    python benchmarks/restart.py --runs 5 --workers 2 --megabytes 100

Worker 1 kills itself by SIGKILL once, between two commits. Of each stage the slowest worker counts; prints medians over
the runs, and the least and the most.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

STAGES = ("script begins", "torch and Hora imported", "hvd.init()", "state made and loaded", "first step")

SCRIPT = """
import json, os, signal, sys, time
times = [time.time()]
import torch
import hora.torch as hvd
times.append(time.time())
hvd.init()
times.append(time.time())
generation = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
side = 512
model = torch.nn.Sequential(*(torch.nn.Linear(side, side, bias=False) for _ in range(int(sys.argv[2]))))
optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.01))
state = hvd.elastic.TorchState(model, optimizer, step=0)


def note(name, value):
    with open(f"{sys.argv[1]}/{name}", "w") as file:
        file.write(json.dumps(value))


@hvd.elastic.run
def train(state):
    times.append(time.time())
    while state.step < 6:
        optimizer.zero_grad()
        model(torch.ones(4, side)).mean().backward()
        optimizer.step()
        times.append(time.time())
        state.step += 1
        if generation == 0 and state.step == 4 and hvd.rank() == 1:
            note("killed", time.time())
            os.kill(os.getpid(), signal.SIGKILL)
        if state.step < 4:
            state.commit()


train(state)
note(f"worker-{hvd.rank()}", times[:5])
"""


def main() -> None:
    """Run the jobs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--megabytes", type=int, default=1, help="of the network, without momentum")
    options = parser.parse_args()
    found = [restart(options.workers, options.megabytes) for _ in range(options.runs)]
    for place, name in enumerate(STAGES):
        times = sorted(run[place] for run in found)
        print(f"{name:24s} after {statistics.median(times):5.2f} s ({times[0]:.2f} to {times[-1]:.2f})")


def restart(workers: int, megabytes: int) -> list[float]:
    """Return the seconds from the kill until the slowest worker of the next generation has come through each stage."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    count = str(workers)
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory, "train.py")
        script.write_text(SCRIPT)
        command = [sys.executable, "-m", "hora", "run", "--min-np", count, "--max-np", count, str(script)]
        subprocess.run([*command, directory, str(megabytes)], check=True, env=env, capture_output=True)
        killed = json.loads(Path(directory, "killed").read_text())
        times = [json.loads(path.read_text()) for path in Path(directory).glob("worker-*")]
    return [max(own[place] for own in times) - killed for place in range(len(STAGES))]


if __name__ == "__main__":
    main()
