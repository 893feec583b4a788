"""Whether the workers of the free run agree with each other: they start alike and stay alike, to the bit."""

from __future__ import annotations

from collections.abc import Sequence

from hora.script.events import OptimizerBegan
from hora.verify.result import Difference
from hora.verify.runs import Run

Finding = tuple[Difference, str | None]


def unequal_start(free: Run) -> Finding | None:
    """Compare the first parameters of workers whose random states were unequal: the script has to equalise them."""
    starts = [tuple(free.of(OptimizerBegan, rank)) for rank in range(free.workers)]
    for own in zip(*starts, strict=False):
        for tensors in zip(*(begun.digests for begun in own), strict=False):
            rank = _odd_one_out([digest for _, digest in tensors])
            if rank is not None:
                name = tensors[0][0]
                detail = f"{name} starts with other values on worker {rank} than on worker 0"
                return Difference("initial parameters", 0, name, None, None, detail), "HR302"
    return None


def disagreement(free: Run) -> Finding | None:
    """After each step the workers must hold the same parameters, to the bit."""
    steps = [free.steps(rank) for rank in range(free.workers)]
    for own in zip(*steps, strict=False):
        for tensors in zip(*(step.digests for step in own), strict=False):
            rank = _odd_one_out([digest for _, digest in tensors])
            if rank is not None:
                name = tensors[0][0]
                detail = f"after step {own[0].step}, {name} differs between workers 0 and {rank}"
                return Difference("update", own[0].step, name, None, None, detail), "HR301"
    return None


def _odd_one_out(values: Sequence[str]) -> int | None:
    return next((rank for rank, value in enumerate(values) if value != values[0]), None)
