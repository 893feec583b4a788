"""Runs a script as an elastic job whose worker 1 kills itself once; the script tells what it sees line by line."""

from __future__ import annotations

import json
import subprocess
import sys

# What the scripts have in common. `tell` writes at once: a killed worker loses nothing. It dies once the others have
# come as far, so that what they did before is certain.
HEAD = """
import json, os, signal, sys
import torch
import hora.torch as hvd

hvd.init()
rank, generation = hvd.rank(), int(os.environ["TORCHELASTIC_RESTART_COUNT"])


def tell(*what):
    with open(f"{sys.argv[1]}/{generation}-{rank}.jsonl", "a") as file:
        file.write(json.dumps([generation, rank, *what]) + "\\n")


def die_once():
    hvd.barrier()
    if generation == 0 and rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    hvd.barrier()
"""


def told(directory, body, workers=2):
    """Run a script to its end; return what the workers told, generation by generation, and what the job printed."""
    script = directory / "script.py"
    script.write_text(HEAD + body)
    command = [sys.executable, "-m", "hora", "run", "--min-np", str(workers), "--max-np", str(workers), str(script)]
    done = subprocess.run([*command, str(directory)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for path in sorted(directory.glob("*.jsonl")) for line in path.read_text().splitlines()]
    return lines, done.stdout + done.stderr
