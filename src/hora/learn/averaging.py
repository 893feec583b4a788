"""Workers played in one process: each computes the gradient of its slice, and the gradients are averaged."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]


def network(*middle: nn.Module, seed: int = 0) -> nn.Sequential:
    """Return a small network in double precision, with `middle` between its layers."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), *middle, nn.Tanh(), nn.Linear(16, 1)).double()


def samples(number: int, *, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Return inputs of shape (number, 6) and targets of shape (number, 1)."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(number, 6, generator=random, dtype=torch.float64)
    return x, x.sum(dim=1, keepdim=True).sin()


def gradient(model: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    """Return the gradient of all parameters, as one vector."""
    parameters = list(model.parameters())
    return torch.cat([one.flatten() for one in torch.autograd.grad(loss(model(x), y), parameters)])


def averaged(model: nn.Module, loss: Loss, x: Tensor, y: Tensor, workers: int, *, weighted: bool = False) -> Tensor:
    """Return the mean of the gradients that workers compute on near-equal slices of the batch.

    Parameters
    ----------
    weighted
        Whether each counts by the number of its samples: times samples here, over samples of an equal slice.
    """
    slices = list(zip(x.tensor_split(workers), y.tensor_split(workers), strict=True))
    weights = [len(own) * workers / len(x) if weighted else 1.0 for own, _ in slices]
    found = [
        weight * gradient(copy.deepcopy(model), loss, own, right)
        for weight, (own, right) in zip(weights, slices, strict=True)
    ]
    return torch.stack(found).mean(dim=0)


def apart(found: Tensor, right: Tensor) -> float:
    """Return how far two gradients are apart, over the length of the right one."""
    return float((found - right).norm() / right.norm())


def distances_of_starts(seeds: Sequence[int], *, steps: int, rate: float = 0.1) -> list[float]:
    """Train workers that started from weights of their own on averaged gradients.

    Returns
    -------
    list
        The distance between the first two workers' weights, before the first step and after each.
    """
    models = [network(seed=seed) for seed in seeds]
    x, y = samples(16 * len(models))
    slices = list(zip(x.chunk(len(models)), y.chunk(len(models)), strict=True))
    vectors = [nn.utils.parameters_to_vector(model.parameters()).detach() for model in models]
    found = [float((vectors[0] - vectors[1]).norm())]
    for _ in range(steps):
        own = [gradient(model, nn.functional.mse_loss, *cut) for model, cut in zip(models, slices, strict=True)]
        mean = torch.stack(own).mean(dim=0)
        vectors = [vector - rate * mean for vector in vectors]
        for model, vector in zip(models, vectors, strict=True):
            nn.utils.vector_to_parameters(vector, model.parameters())
        found.append(float((vectors[0] - vectors[1]).norm()))
    return found


def dropout_noise(workers: int, *, same_masks: bool, draws: int = 60) -> float:
    """Return the mean squared distance that dropout puts between the averaged gradient and its mean over many draws.

    With `same_masks` every worker draws the masks of its slice from the same random state, as under one seed.
    """
    model = network(nn.Dropout(0.5))
    x, y = samples(8 * workers)
    slices = list(zip(x.chunk(workers), y.chunk(workers), strict=True))
    found = []
    for draw in range(draws):
        own = []
        for worker, cut in enumerate(slices):
            torch.manual_seed(draw * workers + (0 if same_masks else worker))
            own.append(gradient(model, nn.functional.mse_loss, *cut))
        found.append(torch.stack(own).mean(dim=0))
    drawn = torch.stack(found)
    return float((drawn - drawn.mean(dim=0)).square().sum(dim=1).mean())
