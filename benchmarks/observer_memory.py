"""What memory it takes to observe a training: peaks of the same script plain, observed, recorded, and compared.

    python benchmarks/observer_memory.py --repeats 3

The network has 25 million parameters. Each run is a process of its own; printed is how much higher its peak of resident
memory is than the plain run's, in copies of the network. Recorded is what the one worker of `hora verify` is, compared
what each of several is.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

KINDS = ("plain", "observed", "recorded", "compared")
WIDTH, LAYERS = 2500, 4
COPY = 4 * LAYERS * (WIDTH + 1) * WIDTH
SCRIPT = f"""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Sequential(*(nn.Linear({WIDTH}, {WIDTH}) for _ in range({LAYERS})))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, foreach=False)
loader = DataLoader(TensorDataset(torch.randn(32, {WIDTH})), batch_size=8)
for epoch in range(2):
    for (x,) in loader:
        optimizer.zero_grad()
        (model(x) - x).pow(2).mean().backward()
        optimizer.step()
"""


def main() -> None:
    """Run all kinds, or (``--kind``) one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    if options.kind:
        run(options.kind, options.directory)
        return
    print(f"{LAYERS * (WIDTH + 1) * WIDTH / 1e6:.1f} million parameters, {COPY / 2**20:.0f} MiB")
    peaks: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as directory:
            for kind in KINDS:
                command = [sys.executable, __file__, "--kind", kind, "--directory", directory]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                peaks[kind].append(float(done.stdout.splitlines()[-1]))
    for kind in KINDS:
        extra = sorted((own - plain) / COPY for own, plain in zip(peaks[kind], peaks["plain"], strict=True))
        print(
            f"{kind:9s} peak {statistics.median(peaks[kind]) / 2**20:6.0f} MiB, "
            f"{statistics.median(extra):+.2f} copies of the network ({extra[0]:+.2f} to {extra[-1]:+.2f})"
        )


def run(kind: str, directory: Path) -> None:
    """Run the script once in this process; the last line of the standard output is its peak in bytes."""
    import runpy

    import hora.script
    from hora.script import StepListener
    from hora.verify.reference import Comparer, Recorder

    script = directory / "script.py"
    script.write_text(SCRIPT)
    os.chdir(directory)
    if kind == "plain":
        runpy.run_path(str(script), run_name="__main__")
    else:
        listener: StepListener | None = None
        if kind == "recorded":
            listener = Recorder(directory / "reference")
        elif kind == "compared":
            listener = Comparer(directory / "reference", directory / "differences.jsonl")
        writer = hora.script.TraceWriter(directory / f"{kind}.jsonl")
        knobs = hora.script.Knobs(steps=10**9, pass_length=10**9, seed=0)
        ended = hora.script.observe(script, [], writer.write, knobs, listener)
        if ended.status:
            raise SystemExit(ended.error)
    # Linux counts in KiB, the others in bytes.
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if sys.platform == "linux" else 1))


if __name__ == "__main__":
    main()
