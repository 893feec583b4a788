"""What the batch size buys, measured on the linear neuron: steps to a loss, and how noisy the gradient is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hora.learn.neuron import Data, best, gradient, loss


@dataclass(frozen=True)
class Descents:
    """What it takes to come down to a loss with one batch size.

    Attributes
    ----------
    batch
        Samples in each step.
    steps
        How many it takes at the rate that needs the fewest.
    rate
        That rate.
    """

    batch: int
    steps: int
    rate: float

    @property
    def samples(self) -> int:
        """Samples that were looked at."""
        return self.batch * self.steps


def gradient_noise(data: Data, place: tuple[float, float], batch: int, *, draws: int = 2000, seed: int = 0) -> float:
    """Return the mean squared distance of a batch's gradient from that of all samples.

    Batches draw with replacement.
    """
    random = torch.Generator().manual_seed(seed)
    w, b = (torch.tensor(one, dtype=torch.float64) for one in place)
    chosen = torch.randint(len(data), (draws, batch), generator=random)
    drawn = torch.stack(gradient(data[chosen], w, b), dim=-1)
    return float((drawn - torch.stack(gradient(data, w, b))).square().sum(dim=-1).mean())


def steps_to(
    data: Data,
    batches: Sequence[int],
    rates: Sequence[float],
    *,
    start: tuple[float, float] = (-3.0, 3.0),
    excess: float = 0.005,
    limit: int = 300,
    seeds: int = 50,
) -> list[Descents]:
    """Measure for each batch size the steps until the loss is within `excess` of the least, at each size's best rate.

    The loss is the mean over the seeds. A batch size that never comes there within `limit` steps is left out.
    """
    found = []
    for batch in batches:
        steps = _steps(data, batch, torch.tensor(rates, dtype=torch.float64), start, excess, limit, seeds)
        fewest = int(steps.argmin())
        if int(steps[fewest]) <= limit:
            found.append(Descents(batch, int(steps[fewest]), rates[fewest]))
    return found


def _steps(
    data: Data, batch: int, rates: Tensor, start: tuple[float, float], excess: float, limit: int, seeds: int
) -> Tensor:
    """Return for each rate the steps that were taken, `limit` + 1 where they were not enough."""
    random = torch.Generator().manual_seed(0)
    target = float(loss(data, *best(data))) + excess
    w, b = (torch.full((len(rates), seeds, 1), one, dtype=torch.float64) for one in start)
    taken = torch.full((len(rates),), limit + 1)
    for step in range(1, limit + 1):
        slope_w, slope_b = gradient(data[torch.randint(len(data), (seeds, batch), generator=random)], w, b)
        w, b = w - rates[:, None, None] * slope_w[..., None], b - rates[:, None, None] * slope_b[..., None]
        there = loss(data, w, b).mean(dim=1) <= target
        taken[there & (taken > limit)] = step
        if bool(there.any()):
            break
    return taken
