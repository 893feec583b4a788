"""Measures between this machine's workers: started by a lesson, run as ``python -m hora.learn.measuring WHAT``."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from hora.errors import HoraError
from hora.launch import run

SIZES = tuple(4**power * 2**10 for power in range(6))
"""Bytes that are reduced: 1 KiB to 1 MiB."""
_ROUNDS = 15
_SECONDS = 120.0


@dataclass(frozen=True)
class Line:
    """The cost of a message or a collective: ``alpha + beta * bytes`` seconds."""

    alpha: float
    beta: float

    def seconds(self, size_in_bytes: float) -> float:
        """Return the cost of so many bytes."""
        return self.alpha + self.beta * size_in_bytes


def fitted(sizes: list[int], seconds: list[float]) -> Line:
    """Fit ``alpha + beta * n``, by least squares of the relative errors; neither is below zero."""
    # Each measurement counts by its inverse: else the largest message would be all that matters.
    weights = [1 / second for second in seconds]
    a = sum(w * w for w in weights)
    b = sum(w * w * n for w, n in zip(weights, sizes, strict=True))
    c = sum(w * w * n * n for w, n in zip(weights, sizes, strict=True))
    d = sum(weights)
    e = sum(w * n for w, n in zip(weights, sizes, strict=True))
    beta = max(0.0, (a * e - b * d) / (a * c - b * b))
    return Line(max(0.0, (d - beta * b) / a), beta)


def measured(what: str, workers: int, *arguments: object) -> Any:
    """Start workers that measure `what`, and return what worker 0 found.

    Raises
    ------
    HoraError
        A worker failed, or it took too long.
    """
    said: list[str] = []
    result = run(
        [sys.executable, "-m", __name__, what, *map(str, arguments)],
        workers,
        env={"OMP_NUM_THREADS": "1"},
        on_line=lambda line: said.append(line.text) if line.rank == 0 and line.stream == "stdout" else None,
        timeout=_SECONDS,
    )
    if result.status:
        failure = result.first_failure
        found = f"it did not end within {_SECONDS:g} s" if failure is None else f"worker {failure.rank}: {failure.how}"
        raise HoraError(f"measure {what}", found, "Run the cell again", status=3)
    return json.loads(said[-1])


def _reduce(_: list[str]) -> dict[str, list[float]]:
    """Measure one message, each schedule and the engine's own all-reduce, for each size, in seconds."""
    import torch
    import torch.distributed as dist

    from hora.learn.exchange import all_reduce
    from hora.learn.schedules import ALGORITHMS

    rank, size = dist.get_rank(), dist.get_world_size()

    def there_and_back(vector: torch.Tensor) -> None:
        if rank == 0:
            dist.send(vector, 1)
            dist.recv(vector, 1)
        elif rank == 1:
            dist.recv(vector, 0)
            dist.send(vector, 0)

    acts: dict[str, Callable[[torch.Tensor], object]] = {
        name: partial(all_reduce, make(size)) for name, make in ALGORITHMS.items()
    }
    acts["torch"] = dist.all_reduce
    for act in acts.values():
        _check_sum(act, size)
    vectors = [torch.ones(size_in_bytes // 4) for size_in_bytes in SIZES]
    found = {name: [_fewest(partial(act, vector)) for vector in vectors] for name, act in acts.items()}
    return found | {"message": [_fewest(partial(there_and_back, vector)) / 2 for vector in vectors]}


def _check_sum(reduce: Callable[[Any], object], size: int) -> None:
    """Raise where a schedule does not give the sum: what is wrong need not be timed."""
    import torch
    import torch.distributed as dist

    vector = torch.full((8,), float(dist.get_rank() + 1))
    reduce(vector)
    if not torch.equal(vector, torch.full((8,), size * (size + 1) / 2)):
        raise ValueError(f"not the sum: {vector.tolist()}")


def _fewest(act: Callable[[], object]) -> float:
    """Return the fewest seconds that `act` takes, with all workers at the start of each: the rest is disturbance."""
    import torch.distributed as dist

    found = []
    for _ in range(_ROUNDS):
        dist.barrier()
        start = time.perf_counter()
        act()
        found.append(time.perf_counter() - start)
    return min(found)


def _overlap(arguments: list[str]) -> list[dict[str, Any]]:
    from hora.learn.overlap import timelines

    return timelines([float(one) for one in arguments])


def _main() -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo")
    what, *arguments = sys.argv[1:]
    found = {"reduce": _reduce, "overlap": _overlap}[what](arguments)
    if dist.get_rank() == 0:
        print(json.dumps(found), flush=True)
    # A worker that leaves early would be a lost connection to the others.
    dist.barrier()
    time.sleep(0.1)
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    _main()
