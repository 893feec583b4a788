"""Adasum: adds gradients as far as they are orthogonal, and averages them as far as they agree.

The source is Maleki et al. 2020, "Scaling Distributed Training with Adaptive Summation". Here each worker gathers all
gradients and combines them itself, in pairs of neighbours, so that every engine can do it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

_TINY = torch.finfo(torch.float64).tiny


def combine(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Combine the workers' tensors, in the order of the ranks.

    Parameters
    ----------
    tensors
        One of each worker, of one shape and dtype; any number of them.

    Returns
    -------
    torch.Tensor
        A tensor alike on all workers. Of equal tensors it is their average, of orthogonal ones their sum.
    """
    level = list(tensors)
    while len(level) > 1:
        rest = level[len(level) & ~1 :]
        level = [_pair(a, b) for a, b in zip(level[::2], level[1::2], strict=False)] + rest
    return level[0]


def _pair(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Combine two: each less half of what it has in common with the other."""
    x, y = a.double(), b.double()
    dot = (x * y).sum()
    share_of_a, share_of_b = (1 - dot / (2 * own.square().sum()).clamp_min(_TINY) for own in (x, y))
    return (share_of_a * x + share_of_b * y).to(a.dtype)
