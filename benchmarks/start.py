"""How long it takes from the command to the first step: `hora run` and torchrun with the same script, interleaved.

    python benchmarks/start.py --pairs 9 --workers 2

The script trains a linear layer under plain DistributedDataParallel, so that nothing but the launcher differs. Times
end when worker 0 has taken its first step, and again when the launcher has ended. Prints medians and the pairs' ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = """
import sys, time
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.ones(8, 64)).sum().backward()
optimizer.step()
if dist.get_rank() == 0:
    with open(sys.argv[1], "w") as file:
        file.write(repr(time.time()))
dist.destroy_process_group()
"""


def main() -> None:
    """Run the pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    count = str(options.workers)
    launchers = {
        "hora run": [sys.executable, "-m", "hora", "run", "-n", count],
        "torchrun": [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count],
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in launchers}
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory, "train.py")
        script.write_text(SCRIPT)
        for pair in range(options.pairs):
            for name in sorted(launchers, reverse=pair % 2 == 1):
                times[name].append(seconds([*launchers[name], str(script)], Path(directory, "stepped")))
    for place, what in enumerate(("first step", "end")):
        own, other = ([one[place] for one in times[name]] for name in ("hora run", "torchrun"))
        ratios = sorted(a / b for a, b in zip(own, other, strict=True))
        print(
            f"{what:10s} hora run {statistics.median(own):.2f} s, torchrun {statistics.median(other):.2f} s, "
            f"ratio {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        )


def seconds(command: list[str], stepped: Path) -> tuple[float, float]:
    """Return the seconds until the first step, and until the launcher has ended."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    began = time.time()
    subprocess.run([*command, str(stepped)], check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ended = time.time()
    return float(stepped.read_text()) - began, ended - began


if __name__ == "__main__":
    main()
