"""A worker's share of a global batch: which of its samples, and how much of it they are."""

from __future__ import annotations

from typing import NamedTuple


class Share(NamedTuple):
    """What a worker has of a global batch.

    Attributes
    ----------
    first
        The place in the batch of the first sample that it is handed.
    samples
        How many of the batch's samples are its own.
    weight
        N times the share that these are of the batch; 0 where it has borrowed the batch, having none of its own.
    """

    first: int
    samples: int
    weight: float


def slice_of(total: int, rank: int, size: int, full: int = 0) -> slice:
    """Return where a worker's slice of a global batch begins and ends; some are empty where samples are few.

    A batch that is not full, as the last of an epoch may be, is cut into slices of two samples or more: one alone has
    no variance to be normalised by, and loses its axis in `squeeze()`, where the batch as a whole does not.

    Parameters
    ----------
    total
        How many samples the batch has.
    rank, size
        Which worker of how many.
    full
        How many a full batch has; 0 where that is not known.
    """
    if total < full:
        size = max(1, min(size, total // 2))
    return slice(total * min(rank, size) // size, total * min(rank + 1, size) // size)


def share_of(part: slice, total: int, size: int) -> Share:
    """Return what a slice of a global batch of `total` samples is to one of `size` workers."""
    own = part.stop - part.start
    return Share(part.start if own else 0, own, size * own / total if total else 1.0)
