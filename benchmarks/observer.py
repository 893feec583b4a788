"""What it costs a training to be observed: the same script plain, under the observer, and recorded step by step.

    python benchmarks/observer.py --pairs 7 examples/vision/digits.py -- --epochs 4

Each run is a process of its own, the kinds interleaved; times are of the script alone, imports left out as far as they
are Hora's. Prints medians and the ratio to the plain run, of the time that passes and of the processor's, which other
work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KINDS = ("plain", "observed", "recorded")


def main() -> None:
    """Run the pairs, or (``--kind``) one run of one kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("script", type=Path)
    parser.add_argument("args", nargs="*")
    options = parser.parse_args()
    if options.kind:
        run(options.kind, options.script.absolute(), options.args)
        return
    passed: dict[str, list[float]] = {kind: [] for kind in KINDS}
    used: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(options.pairs):
        for kind in KINDS:
            command = [sys.executable, __file__, "--kind", kind, str(options.script), "--", *options.args]
            done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            times = json.loads(done.stderr.splitlines()[-1])
            passed[kind].append(times[0])
            used[kind].append(times[1])
    for what, seconds in (("passed", passed), ("of the processor", used)):
        for kind in KINDS:
            ratios = sorted(own / other for own, other in zip(seconds[kind], seconds["plain"], strict=True))
            print(
                f"{kind:9s} median {statistics.median(seconds[kind]):6.2f} s {what}, "
                f"{statistics.median(ratios):.3f} of plain ({ratios[0]:.3f} to {ratios[-1]:.3f})"
            )


def run(kind: str, script: Path, args: list[str]) -> None:
    """Run the script once in this process; the last line of the standard error is its seconds and the processor's."""
    import runpy

    import hora.script
    from hora.verify.reference import Recorder

    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        began, used = time.perf_counter(), time.process_time()
        if kind == "plain":
            sys.argv = [str(script), *args]
            runpy.run_path(str(script), run_name="__main__")
        else:
            writer = hora.script.TraceWriter(Path(directory) / "trace.jsonl")
            recorder = Recorder(Path(directory) / "reference") if kind == "recorded" else None
            knobs = hora.script.Knobs(steps=10**9, pass_length=10**9, seed=0)
            ended = hora.script.observe(script, args, writer.write, knobs, recorder)
            if ended.status:
                raise SystemExit(ended.error)
        print(json.dumps([time.perf_counter() - began, time.process_time() - used]), file=sys.stderr)


if __name__ == "__main__":
    main()
