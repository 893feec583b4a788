"""How long a training step takes with Hora, with torch's DDP, with Horovod, and without any communication.

    python benchmarks/optimizer_step.py --workers 2
    python benchmarks/optimizer_step.py --workers 2 --contestants hora horovod alone     (where Horovod is installed)
    python benchmarks/optimizer_step.py --workers 4 --models mlp-6m --network --mbit 1000 --ms 1     (root, Linux)
    python benchmarks/optimizer_step.py --workers 2 --memory

The contestants take turns in the same workers, so that what else the machine does meets them all. A sample is the time
of the slowest worker; ratios are medians of pairs that ran next to each other, with the 95 percent interval that the
order statistics give, whatever the distribution. No step can be shorter than its computation, or than its gradients
need on the wire: 2 (N - 1) / N of their bytes at the bandwidth of a link.

Horovod is no contestant by default, as it must be built for today's torch first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import horovod_peer
from network import address, slow_network
from rich.console import Console
from rich.table import Table

WORKER = Path(__file__).with_name("steps.py")
MODELS = ("mlp", "small", "wideresnet", "transformer")
# With these, memory that is freed goes back at once, so that what is resident is what is in use.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": 16384, "MALLOC_TRIM_THRESHOLD_": 16384}
CONTESTANTS = ("hora", "ddp", "ddp 4 MB", "ddp as view", "alone")


def main() -> None:
    options = parse()
    # As Ctrl-C does, this ends the workers and the network on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = []
    with contextlib.ExitStack() as stack:
        spaces = stack.enter_context(slow_network(options.workers, options.mbit, options.ms)) if options.network else []
        for model in options.models:
            sets = [[name] for name in options.contestants] if options.memory else [options.contestants]
            parts = [run(options, model, names, spaces) for names in sets]
            results.append({**parts[0], "steps": [step for part in parts for step in part["steps"]]})
    report = {"workers": options.workers, "network": network(options), "results": results}
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--models", nargs="+", default=MODELS, help=f"of {', '.join(MODELS)} and mlp-6m")
    parser.add_argument("--contestants", nargs="+", default=CONTESTANTS, choices=[*CONTESTANTS, "horovod"])
    parser.add_argument("--pairs", type=int, default=25, help="samples of each contestant")
    parser.add_argument("--samples", type=int, default=0, help="the batch of each worker")
    parser.add_argument("--memory", action="store_true", help="measure the peak of resident memory, not time")
    parser.add_argument("--network", action="store_true", help="put every worker behind a link of its own")
    parser.add_argument("--mbit", type=float, default=1000.0)
    parser.add_argument("--ms", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def network(options: argparse.Namespace) -> str:
    return f"{options.mbit:g} Mbit/s, {options.ms:g} ms" if options.network else "loopback"


def run(options: argparse.Namespace, model: str, names: Sequence[str], spaces: Sequence[str]) -> dict[str, Any]:
    """Measure contestants on one model; return what worker 0 writes."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "result.json"
        job = {
            "model": model,
            "contestants": names,
            "pairs": options.pairs,
            "samples": options.samples,
            "memory": options.memory,
            "bytes_per_second": options.mbit * 125_000 if options.network else None,
            "out": str(out),
        }
        variables = GIVE_BACK if options.memory else {}
        with horovod_variables(options.workers, names) as more:
            launch(options.workers, [sys.executable, str(WORKER), json.dumps(job)], spaces, variables, more)
        result: dict[str, Any] = json.loads(out.read_text())
        return result


def horovod_variables(
    workers: int, names: Sequence[str]
) -> contextlib.AbstractContextManager[Sequence[Mapping[str, object]]]:
    """Return what each worker needs to find the others' Horovod, if that is a contestant."""
    if "horovod" not in names:
        return contextlib.nullcontext([{}] * workers)
    if not horovod_peer.available():
        raise SystemExit("horovod is not installed for this Python")
    return horovod_peer.rendezvous(workers)


def launch(
    workers: int,
    command: Sequence[str],
    spaces: Sequence[str],
    more: Mapping[str, object],
    of_each: Sequence[Mapping[str, object]],
) -> None:
    """Run a command as each worker, in its namespace if there are any; end all when one fails."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        port = free_port()
        for rank in range(workers):
            variables = {
                "RANK": rank,
                "WORLD_SIZE": workers,
                "LOCAL_RANK": 0 if spaces else rank,
                "LOCAL_WORLD_SIZE": 1 if spaces else workers,
                "GROUP_RANK": rank if spaces else 0,
                "GROUP_WORLD_SIZE": workers if spaces else 1,
                "MASTER_ADDR": address(0) if spaces else "127.0.0.1",
                "MASTER_PORT": port,
                "OMP_NUM_THREADS": 1,
                "HORA_TIMEOUT_SECONDS": 120,
                **more,
                **of_each[rank],
            }
            if spaces:
                # Addresses have no names in these namespaces, of which torch would warn.
                variables |= {"GLOO_SOCKET_IFNAME": "eth0", "TORCH_CPP_LOG_LEVEL": "ERROR"}
            inside = ["ip", "netns", "exec", spaces[rank]] if spaces else []
            env = os.environ | {name: str(value) for name, value in variables.items()}
            processes.append(subprocess.Popen([*inside, *command], env=env))
        for process in processes:
            if process.wait() != 0:
                raise SystemExit(f"a worker ended with status {process.returncode}")
    finally:
        for process in processes:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def show(report: dict[str, Any]) -> None:
    """Print a table for each model."""
    console = Console()
    for result in report["results"]:
        title = f"{result['model']}: {result['tensors']} tensors, {result['megabytes']:.1f} MB"
        table = Table(title=f"{title}; {report['workers']} workers, {report['network']}")
        for column in ("", "ms", "Hora / it", "95 %", "peak MB", "gradients MB"):
            table.add_column(column, justify="left" if not column else "right")
        for step in result["steps"]:
            low, high = step["interval"]
            interval = f"{low:.3f} to {high:.3f}" if low else ""
            ratio = f"{step['ratio']:.3f}" if step["ratio"] else ""
            table.add_row(
                step["name"],
                f"{step['ms']:.1f}" if step["ms"] else "",
                ratio,
                interval,
                f"{step['peak_mb']:.1f}" if step["peak_mb"] else "",
                f"{step['gradients_mb']:.3f}" if step["gradients_mb"] else "",
            )
        if result["bound_ms"]:
            table.add_row("bound", f"{result['bound_ms']:.1f}", "", "", "", "")
        console.print(table)


if __name__ == "__main__":
    main()
