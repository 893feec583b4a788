"""The linear neuron on a line: its data, its loss, its gradient by hand, and its descent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Data:
    """Samples of a line.

    Attributes
    ----------
    x, y
        Inputs and targets, each of shape (samples,).
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, chosen: Tensor | slice) -> Data:
        return Data(self.x[chosen], self.y[chosen])


def noisy_line(samples: int = 64, *, slope: float = 2.0, bias: float = -1.0, noise: float = 0.4, seed: int = 0) -> Data:
    """Draw samples of ``y = slope * x + bias`` with normal noise; ``x`` is uniform between -1 and 2."""
    random = torch.Generator().manual_seed(seed)
    x = 3 * torch.rand(samples, generator=random, dtype=torch.float64) - 1
    return Data(x, slope * x + bias + noise * torch.randn(samples, generator=random, dtype=torch.float64))


def predict(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Return what the neuron says: ``w * x + b``."""
    return w * x + b


def loss(data: Data, w: Tensor, b: Tensor) -> Tensor:
    """Return the mean of the squared errors over the samples, the last dimension."""
    return (predict(data.x, w, b) - data.y).square().mean(dim=-1)


def gradient(data: Data, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss's derivatives by ``w`` and ``b``, as the chain rule gives them."""
    error = predict(data.x, w, b) - data.y
    return (2 * error * data.x).mean(dim=-1), (2 * error).mean(dim=-1)


def best(data: Data) -> Tensor:
    """Return the ``(w, b)`` of the least loss, by least squares."""
    columns = torch.stack([data.x, torch.ones_like(data.x)], dim=1)
    solution: Tensor = torch.linalg.lstsq(columns, data.y[:, None]).solution
    return solution[:, 0]


def surface(data: Data, ws: Tensor, bs: Tensor) -> Tensor:
    """Return the loss for each pair of ``bs`` (rows) and ``ws`` (columns)."""
    return loss(data, ws[None, :, None], bs[:, None, None])


def descend(data: Data, *, rate: float, batch: int, steps: int, start: tuple[float, float], seed: int = 0) -> Tensor:
    """Descend in mini-batches, each epoch in a new order; a batch of all samples is full-batch descent.

    Returns
    -------
    Tensor
        The path, of shape (steps + 1, 2): ``(w, b)`` before the first step and after each.
    """
    random = torch.Generator().manual_seed(seed)
    place = torch.tensor(start, dtype=torch.float64)
    path = [place]
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if not len(order):
            order = torch.randperm(len(data), generator=random)
        chosen, order = order[:batch], order[batch:]
        place = place - rate * torch.stack(gradient(data[chosen], *place))
        path.append(place)
    return torch.stack(path)
