"""Whether the workers of the free run agree with each other: they start alike and stay alike, to the bit.

Their random numbers have to agree where all draw for one purpose, and must not where each draws for its own samples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile
from typing import TypeVar

from hora.script.events import BatchDrew, OptimizerBegan, OptimizerStepped
from hora.verify.result import Difference, Finding
from hora.verify.runs import Run

_Digested = TypeVar("_Digested", OptimizerBegan, OptimizerStepped)


def unequal_start(free: Run) -> Finding | None:
    """Compare the first parameters of workers whose random states were unequal: the script has to equalise them."""
    found = _first_odd([tuple(free.of(OptimizerBegan, rank)) for rank in range(free.workers)])
    if found is None:
        return None
    _, name, rank = found
    detail = f"{name} starts with other values on worker {rank} than on worker 0"
    return Difference("initial parameters", 0, name, None, None, detail), "HR302"


def disagreement(free: Run) -> Finding | None:
    """After each step the workers must hold the same parameters, to the bit."""
    found = _first_odd([free.steps(rank) for rank in range(free.workers)])
    if found is None:
        return None
    stepped, name, rank = found
    detail = f"after step {stepped.step}, {name} differs between workers 0 and {rank}"
    return Difference("update", stepped.step, name, None, None, detail), "HR301"


# So many numbers do not agree by chance, also where they are coin tosses.
_NUMBERS = 48


def same_noise(reference: Run, free: Run) -> Finding | None:
    """Find noise, drawn for the samples of a batch, that is the same on two workers, from the first training batch on.

    One worker draws for each sample of a batch, several that are seeded alike draw the same for each slice, until a
    batch without equal slices takes their random states apart.
    """
    training = {(loader, number): batches for loader, number, batches in reference.training_passes()}
    rows = {(drew.loader, drew.draw, drew.row) for drew in reference.of(BatchDrew)}
    own = [
        {(drew.loader, drew.number, drew.index, drew.draw, drew.row): drew.digest for drew in free.of(BatchDrew, rank)}
        for rank in range(free.workers)
    ]
    counted: dict[tuple[str, int], list[tuple[bool, int]]] = defaultdict(list)
    for key in sorted(set().union(*own)):
        loader, number, index, draw, row = key
        batch = training.get((loader, number), ())[index : index + 1]
        digests = [drawn[key] for drawn in own if key in drawn]
        if len(digests) > 1 and (loader, draw, row) in rows and batch and len(batch[0]) >= 2 * free.workers:
            # Slices that differ by a sample take the states of their workers apart, but not of all.
            alike = len(set(digests)) < len(digests)
            counted[loader, draw].append((alike, row * (len(batch[0]) // free.workers)))
    for (loader, draw), found in sorted(counted.items()):
        same = [count for _, count in takewhile(lambda batch: batch[0], found)]
        if sum(same) >= _NUMBERS:
            detail = (
                f"the workers draw the same random numbers for their slices of {loader} (draw {draw} of each step, "
                f"in {len(same)} batches); one worker draws others for each sample"
            )
            return Difference("noise", 0, None, None, None, detail), "HR503"
    return None


def same_random_state(free: Run) -> bool:
    """Whether all workers have the same random state at each step, so that what they drop of their slices is alike."""
    steps = [[step.random for step in free.steps(rank)] for rank in range(free.workers)]
    return free.workers > 1 and bool(steps[0]) and all(own == steps[0] for own in steps)


def _first_odd(by_worker: Sequence[Sequence[_Digested]]) -> tuple[_Digested, str, int] | None:
    """The first event in which a worker holds another tensor than worker 0: as worker 0 saw it, the name, the rank."""
    for events in zip(*by_worker, strict=False):
        for tensors in zip(*(event.digests for event in events), strict=False):
            rank = _odd_one_out([digest for _, digest in tensors])
            if rank is not None:
                return events[0], tensors[0][0], rank
    return None


def _odd_one_out(values: Sequence[str]) -> int | None:
    return next((rank for rank, value in enumerate(values) if value != values[0]), None)
