"""The runs of a verification, and what they show in full: step by step, tensor by tensor, pass by pass."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from hora.script.events import BackwardRan, BatchLoaded, OptimizerStepped, StatisticsKept
from hora.verify.floor import Floor
from hora.verify.reference import TensorDifference
from hora.verify.result import Coverage, Difference, Precision, Step, Tensor
from hora.verify.runs import Run


@dataclass(frozen=True)
class Evidence:
    """The runs of one worker, and of several free and replayed.

    Attributes
    ----------
    repeated
        One worker again, on its own batches.
    permuted
        Whether the samples of those changed places within each batch. They do not where no batch is known, or where
        the script pairs the samples with random numbers of its own.
    alike
        Whether one worker and several have the same arguments, and so the same to print.
    weak
        Whether the one worker trains on as many batches at once as there are workers.
    plain
        One worker free, where it trains on a stream: what the streams of several have to hold together.
    """

    reference: Run
    repeated: tuple[Run, ...]
    permuted: bool
    free: Run
    replayed: Run
    precision: Precision
    alike: bool = True
    weak: bool = False
    plain: Run | None = None

    @cached_property
    def differences(self) -> list[TensorDifference]:
        """How far the replayed run is from the reference: see `worst`."""
        return worst([self.replayed])


def worst(runs: Iterable[Run]) -> list[TensorDifference]:
    """For each tensor of each step, the largest difference over all workers of all runs, in order of steps."""
    largest: dict[tuple[int, str, str], TensorDifference] = {}
    for run in runs:
        for differences in run.differences:
            for found in differences:
                key = found.step, found.quantity, found.tensor
                if key not in largest or not found.difference <= largest[key].difference:
                    largest[key] = found
    return sorted(largest.values(), key=lambda found: found.step)


_OF_STEPS = ("gradient", "update", "optimizer state", "buffer")


def drawn_one_by_one(evidence: Evidence, difference: Difference) -> str | None:
    """Say that the step of a difference draws random numbers for one sample after the other.

    None where it draws none, or as many on each of several workers as on one.
    """
    reference, replayed, step = evidence.reference, evidence.replayed, difference.step
    one = next((stepped.singles for stepped in reference.steps() if stepped.step == step), 0)
    runs = [replayed.steps(rank) for rank in range(replayed.workers)]
    several = [stepped.singles for run in runs for stepped in run if stepped.step == step]
    fewer = replayed.workers > 1 and len(several) == len(runs) and all(0 < count < one for count in several)
    if not fewer or difference.quantity not in _OF_STEPS:
        return None
    return (
        f"step {step} draws random numbers for one sample after the other ({one} on one worker, "
        f"{', '.join(map(str, several))} on {len(several)}): which sample a number is for cannot be seen, so the "
        "workers draw others"
    )


def by_step(evidence: Evidence, floor: Floor) -> tuple[Step, ...]:
    """What each step shows."""
    found: dict[int, float] = {}
    for difference in evidence.differences:
        if difference.quantity == "gradient" and floor.judges(difference):
            found[difference.step] = max(found.get(difference.step, 0.0), difference.difference)
    one = _losses(evidence.reference, 0)
    several = [_losses(evidence.replayed, rank) for rank in range(evidence.replayed.workers)]
    return tuple(
        Step(step.step, found.get(step.step), one.get(step.step), _mean([losses.get(step.step) for losses in several]))
        for step in evidence.reference.steps()
    )


def by_tensor(evidence: Evidence, floor: Floor) -> tuple[Tensor, ...]:
    """What each parameter's gradient shows."""
    found: dict[str, TensorDifference] = {}
    for difference in evidence.differences:
        name = difference.tensor
        if difference.quantity == "gradient" and (name not in found or difference.difference > found[name].difference):
            found[name] = difference
    return tuple(
        Tensor(name, d.difference, floor.of(d), floor.allowed(d) if floor.judges(d) else None)
        for name, d in found.items()
    )


def coverage(evidence: Evidence) -> tuple[Coverage, ...]:
    """Who was handed how many samples of each training pass."""
    handed = [
        {(batch.loader, batch.number, batch.index): len(batch.samples) for batch in evidence.free.of(BatchLoaded, rank)}
        for rank in range(evidence.free.workers)
    ]
    return tuple(
        Coverage(
            loader,
            number,
            sum(map(len, batches)),
            tuple(sum(count for key, count in own.items() if key[:2] == (loader, number)) for own in handed),
        )
        for loader, number, batches in evidence.reference.training_passes()
    )


def statistics_drift(free: Run) -> float | None:
    """How far BatchNorm's running statistics of worker 0 and another lie apart, at most; None where none is.

    Means on the scale of the standard deviations that they are used with, variances on their own.
    """
    kept = [dict(next(free.of(StatisticsKept, rank), StatisticsKept(())).buffers) for rank in range(free.workers)]
    drifts = []
    for other in kept[1:]:
        for name, values in other.items():
            own = kept[0].get(name, ())
            variances = kept[0].get(name.replace("running_mean", "running_var"), ())
            scale = math.sqrt(math.fsum(variances)) if name.endswith("running_mean") else math.hypot(*own)
            if len(values) == len(own) and scale:
                drifts.append(math.dist(values, own) / scale)
    return max(drifts, default=None)


def _losses(run: Run, rank: int) -> dict[int, float]:
    """By optimizer step, the sum of what the backwards before it started from."""
    losses: dict[int, float] = {}
    pending: float | None = None
    for event in run.events[rank]:
        if isinstance(event, BackwardRan) and event.loss is not None:
            pending = event.loss + (pending or 0.0)
        elif isinstance(event, OptimizerStepped) and pending is not None:
            losses[event.step] = pending
            pending = None
    return losses


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
