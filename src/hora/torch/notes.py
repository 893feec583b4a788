"""Four numbers that travel with each reduction of gradients: what the workers must have in common, and who has joined.

They are averaged as the gradients are, so that every worker can tell whether its own are those of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# They stay small, so that their mean is exact in float32.
_MODULUS = 512
_TOLERANCE = 0.4

COUNT = 4
"""How many numbers there are."""

ABSENT = (1.0, 0.0, 0.0, 0.0)
"""Those of a worker that has joined."""


@dataclass(frozen=True)
class Notes:
    """Where a worker is, as its reduction tells the others.

    Attributes
    ----------
    reductions, steps
        How many this worker's optimizer has behind it.
    newly_trained
        How many parameters became trainable since the last reduction.
    """

    reductions: int
    steps: int
    newly_trained: int

    def numbers(self) -> tuple[float, ...]:
        """Return the numbers that travel."""
        return (0.0, self.reductions % _MODULUS, self.steps % _MODULUS, self.newly_trained)


@dataclass(frozen=True)
class Comparison:
    """What the mean of the workers' notes says.

    Attributes
    ----------
    joined
        How many workers have joined; their other numbers are zero.
    apart
        Whether those that have not are at different places.
    newly_trained_elsewhere
        Whether another number of parameters became trainable elsewhere.
    """

    joined: int
    apart: bool
    newly_trained_elsewhere: bool


def compare(own: Sequence[float], means: Sequence[float], size: int) -> Comparison:
    """Compare this worker's numbers with their mean over `size` workers."""
    joined = round(means[0] * size)
    others = max(1, size - joined)
    # A worker off by one moves the mean of those who are here by one over their number.
    off = [abs(mean * size / others - mine) > _TOLERANCE / others for mine, mean in zip(own, means, strict=True)]
    return Comparison(joined, any(off[1:3]), off[3])
