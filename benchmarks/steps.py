"""One worker of `optimizer_step.py`: trains a network with each contestant in turn, and times the steps."""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from math import comb
from pathlib import Path

import torch
import torch.distributed as dist
from models import TASKS, Task
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import hora.torch as hvd

WARM_UP_STEPS = 8
# Before each sample: Horovod has to learn the tensors' names anew.
TURN_WARM_UP_STEPS = 3
# A sample is as many steps as take so long.
SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class Step:
    """What was measured of a contestant: median milliseconds, and Hora's ratio to it with its 95 percent interval.

    Of memory, in MB: the peak of the process, and what the gradients that the script sees live in.
    """

    name: str
    ms: float | None
    ratio: float | None
    interval: tuple[float, float] | tuple[None, None]
    peak_mb: float | None = None
    gradients_mb: float | None = None


def main() -> None:
    job = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    hvd.init()
    task = TASKS[job["model"]]
    torch.manual_seed(hvd.rank())
    batch = task.batch(job["samples"] or task.samples)
    before = resident_mb()
    steps = {name: contestant(name, task, batch) for name in job["contestants"]}
    for name, step in steps.items():
        with turn(name):
            for _ in range(WARM_UP_STEPS):
                step()
    parameters = list(task.build().parameters())
    megabytes = sum(parameter.nbytes for parameter in parameters) / 1e6
    bandwidth = job["bytes_per_second"] or measure_bandwidth()
    wire_ms = 2 * (hvd.size() - 1) / hvd.size() * megabytes * 1e9 / bandwidth
    bound_ms = None
    if job["memory"]:
        measured = [
            Step(name, None, None, (None, None), peak_mb(step) - before, gradients_mb()) for name, step in steps.items()
        ]
    else:
        times = take_turns(steps, job["pairs"])
        measured = [summary(name, times) for name in times]
        if "alone" in times:
            bound_ms = max(1e3 * statistics.median(times["alone"]), wire_ms)
    if hvd.rank() == 0:
        result = {
            "model": job["model"],
            "tensors": len(parameters),
            "megabytes": megabytes,
            "gigabytes_per_second": bandwidth / 1e9,
            "wire_ms": wire_ms,
            "bound_ms": bound_ms,
            "steps": [asdict(step) for step in measured],
        }
        Path(job["out"]).write_text(json.dumps(result))


def take_turns(steps: dict[str, Callable[[], None]], pairs: int) -> dict[str, list[float]]:
    """Return the seconds of each contestant's steps; each is as often the first."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    repeats = dict.fromkeys(steps, 1)
    names = list(steps)
    for number in range(-1, pairs):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            with turn(name):
                for _ in range(TURN_WARM_UP_STEPS):
                    steps[name]()
                times[name].append(sample(steps[name], repeats[name]))
        if number < 0:
            repeats = {name: max(1, round(SAMPLE_SECONDS / times[name].pop())) for name in names}
    return times


def turn(name: str) -> AbstractContextManager[None]:
    """Return what must be around a contestant's steps."""
    return horovod_running() if name == "horovod" else nullcontext()


def contestant(name: str, task: Task, batch: tuple[torch.Tensor, torch.Tensor]) -> Callable[[], None]:
    """Return a training step."""
    torch.manual_seed(0)
    network = task.build()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)
    model: nn.Module = network
    if name == "hora":
        optimizer = hvd.DistributedOptimizer(optimizer)
    elif name == "horovod":
        optimizer = horovod_optimizer(optimizer, network)
    elif name == "ddp":
        model = DistributedDataParallel(network)
    elif name == "ddp 4 MB":
        model = DistributedDataParallel(network, bucket_cap_mb=4)
    elif name == "ddp as view":
        model = DistributedDataParallel(network, gradient_as_bucket_view=True)
    inputs, targets = batch

    def step() -> None:
        optimizer.zero_grad()
        task.loss(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def horovod_optimizer(optimizer: torch.optim.SGD, network: nn.Module) -> torch.optim.SGD:
    """Wrap an optimizer with Horovod's own `DistributedOptimizer`."""
    import horovod.torch

    with horovod_running():
        wrapped: torch.optim.SGD = horovod.torch.DistributedOptimizer(optimizer, network.named_parameters())
    return wrapped


@contextmanager
def horovod_running() -> Iterator[None]:
    """Let Horovod's thread, which negotiates every millisecond, run in its own turn alone."""
    import horovod.torch

    # Its rendezvous forgets a round when all have left it.
    dist.barrier()
    horovod.torch.init()
    try:
        yield
    finally:
        horovod.torch.shutdown()


def sample(step: Callable[[], None], repeats: int) -> float:
    """Return the seconds of a step on the slowest worker."""
    dist.barrier()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return float(hvd.allreduce((time.perf_counter() - start) / repeats, op=hvd.Max))


def summary(name: str, times: dict[str, list[float]]) -> Step:
    """Hold Hora's times against those of a contestant, pair by pair."""
    ms = 1e3 * statistics.median(times[name])
    if name == "hora" or "hora" not in times:
        return Step(name, ms, None, (None, None))
    ratios = sorted(hora / other for hora, other in zip(times["hora"], times[name], strict=True))
    place = outermost(len(ratios))
    return Step(name, ms, statistics.median(ratios), (ratios[place], ratios[-1 - place]))


def outermost(count: int) -> int:
    """How many values to leave off at either end for a 95 percent interval of the median."""
    place, probability = 0, 0.5**count
    while probability + comb(count, place + 1) * 0.5**count <= 0.025:
        place += 1
        probability += comb(count, place) * 0.5**count
    return place


def measure_bandwidth() -> float:
    """Return the bytes per second that all workers send to their neighbours at once."""
    size, rank = hvd.size(), hvd.rank()
    out, into = torch.ones(8 * 2**20), torch.empty(8 * 2**20)
    best = 0.0
    for _ in range(5):
        dist.barrier()
        start = time.perf_counter()
        for work in (dist.isend(out, (rank + 1) % size), dist.irecv(into, (rank - 1) % size)):
            if work is not None:
                work.wait()
        best = max(best, out.nbytes / float(hvd.allreduce(time.perf_counter() - start, op=hvd.Max)))
    return best


def resident_mb() -> float:
    return status_mb("VmRSS")


def status_mb(field: str) -> float:
    """Read a size of this process (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024 / 1e6


def peak_mb(step: Callable[[], None]) -> float:
    """Return the most that is resident during five steps."""
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(5):
        step()
    return status_mb("VmHWM")


def gradients_mb() -> float:
    """Return how much memory gradients live in; buckets that they are copied to are not among it."""
    parameters = [one for one in gc.get_objects() if type(one) is nn.Parameter and one.grad is not None]
    storages = [parameter.grad.untyped_storage() for parameter in parameters]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values()) / 1e6


if __name__ == "__main__":
    main()
