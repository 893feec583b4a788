"""Measures what joins the workers: ``python -m hora.torch.links``, as each of them; worker 0 prints one JSON object.

Bandwidths are those of nccl-tests (its doc/PERFORMANCE.md): an allreduce of S bytes in t seconds over N workers has the
bus bandwidth 2(N-1)/N * S/t, which is what the slowest link carries.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from hora.torch.rounds import init, shutdown
from hora.torch.world import current

SIZES = (2**20, 16 * 2**20, 64 * 2**20)
"""Bytes of the buffers that are reduced."""

_PAIRED_WORKERS = 8  # up to so many, each pair is measured
_PAIR_BYTES = 16 * 2**20
_SECONDS = 4.0  # for one size at most, as far as one operation does not take longer
_SMALL_ROUNDS = 200


def main() -> None:
    """Measure, and print."""
    import_seconds = _age()
    before = time.perf_counter()
    init()
    met = time.perf_counter()
    world = current()
    told: dict[str, Any] = {
        "import_seconds": import_seconds,
        "meet_seconds": met - before,
        "backend": "none" if world.group is None else dist.get_backend_config(world.group),
        "accelerator": _accelerator(),
        "built": {name: bool(getattr(dist, f"is_{name}_available")()) for name in ("nccl", "gloo", "mpi")},
    }
    if world.size > 1:
        device = _device()
        latency = _timed(lambda: dist.all_reduce(torch.zeros(1, device=device)), _SMALL_ROUNDS)
        told["latency_seconds"] = statistics.median(latency)
        told["allreduce"] = {str(size): _allreduce(size, device) for size in SIZES}
        told["pairs"] = _pairs(device) if world.size <= _PAIRED_WORKERS else []
    if world.rank == 0:
        print(json.dumps(told), flush=True)
    shutdown()


def _allreduce(size: int, device: torch.device) -> float:
    """Return the bus bandwidth in bytes per second."""
    buffer = torch.zeros(size // 4, device=device)
    seconds = statistics.median(_timed(lambda: dist.all_reduce(buffer), 10))
    workers = current().size
    return size / seconds * 2 * (workers - 1) / workers


def _pairs(device: torch.device) -> list[tuple[int, int, float]]:
    """Return for each pair of workers, one after the other, what goes from the first to the second per second."""
    rank, size = current().rank, current().size
    buffer = torch.zeros(_PAIR_BYTES // 4, device=device)
    small = torch.zeros(1, device=device)
    rates = torch.zeros(size, size, dtype=torch.float64, device=device)
    for sender in range(size):
        for receiver in range(sender + 1, size):
            dist.all_reduce(small)  # nobody else is on the way
            if rank not in (sender, receiver):
                continue

            def once(sender: int = sender, receiver: int = receiver) -> None:
                if rank == sender:
                    dist.send(buffer, receiver)
                    dist.recv(small, receiver)  # it has arrived
                else:
                    dist.recv(buffer, sender)
                    dist.send(small, sender)

            times = [_seconds(once, device) for _ in range(4)]
            if rank == sender:
                rates[sender, receiver] = _PAIR_BYTES / min(times[1:])
    dist.all_reduce(rates)
    return [(a, b, float(rates[a, b])) for a in range(size) for b in range(a + 1, size)]


def _timed(operation: Callable[[], object], rounds: int) -> list[float]:
    """Return the seconds that an operation takes, over again for as long as there is time; alike on all workers."""
    device = _device()
    first = [_seconds(operation, device) for _ in range(2)][1]
    longest = torch.tensor([first], dtype=torch.float64, device=device)
    dist.all_reduce(longest, op=dist.ReduceOp.MAX)
    rounds = max(1, min(rounds, int(_SECONDS / max(float(longest), 1e-6))))
    return [_seconds(operation, device) for _ in range(rounds)]


def _seconds(operation: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    operation()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - start


def _device() -> torch.device:
    """Where gradients live: the accelerator, whose engine is then measured, else the CPU."""
    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator()
        assert kind is not None
        index = current().local_rank % torch.accelerator.device_count()
        torch.accelerator.set_device_index(index)
        return torch.device(kind.type, index)
    return torch.device("cpu")


def _age() -> float | None:
    """Return for how many seconds this process has been there, None where the system does not say."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    except OSError:
        return None


def _accelerator() -> str | None:
    """Name what torch computes on, None for the CPU alone."""
    if not torch.accelerator.is_available():
        return None
    return f"{torch.accelerator.device_count()} {torch.accelerator.current_accelerator()}"


if __name__ == "__main__":
    main()
