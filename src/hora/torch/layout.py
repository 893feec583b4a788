"""Which gradients share a bucket: by size before the first step, by what worker 0 has measured after the first steps.

    gradients    | 9 | 8 |   7   | 6 | 5 |     4     |           as they come in backward
    network             |  9 8  |   7   | 6 5 |  4  |            one bucket after the other
                                                  └─┴─ exposed

Small buckets start early and large ones waste less, so the cut that ends soonest is sought: `cut_in_time`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hora.errors import HoraError

# Less than the four million bytes of a layer of a thousand by a thousand, so that each such layer is a bucket.
DEFAULT_BYTES = 3 * 2**20

# A cut by time must promise to end so much sooner than one by size: what it knows is measured once, and idle cores are
# not all that a reduction needs.
_CLEARLY_SOONER = 0.9
# The cut is sought between pieces, of which there are at most so many, and none smaller.
_MOST_PIECES = 256
_SMALLEST_PIECE = 64 * 2**10


@dataclass(frozen=True)
class Cost:
    """What a bucket's reduction takes: so many seconds, and so many more for each byte."""

    seconds: float
    seconds_per_byte: float


def fixed_bytes() -> int | None:
    """Return how large a bucket grows where HORA_BUCKET_MB says so."""
    text = os.environ.get("HORA_BUCKET_MB")
    if text is None:
        return None
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if size <= 0:
        raise HoraError("HORA_BUCKET_MB", f"found {text!r}, which is no size", "Set it to 4, say")
    return round(size * 2**20)


def cut_by_size(
    parameters: Sequence[torch.Tensor], largest: int, groups: Sequence[Sequence[torch.Tensor]] = ()
) -> list[list[int]]:
    """Cut parameters into buckets of a given size.

    Parameters
    ----------
    parameters
        The parameters, in the order in which their gradients come.
    largest
        A bucket of one dtype and device closes when it has as many bytes.
    groups
        Parameters that share a bucket whatever its size, one for each dtype and device, a list for each bucket.

    Returns
    -------
    list of list of int
        The places of each bucket's parameters, in the order in which the buckets fill.
    """
    group_of = {parameter: number for number, group in enumerate(groups) for parameter in group}
    done: list[list[int]] = []
    filling: dict[tuple[object, ...], tuple[list[int], int]] = {}
    for place, parameter in enumerate(parameters):
        group = group_of.get(parameter)
        kind = group, parameter.dtype, parameter.device
        bucket, size = filling.pop(kind, ([], 0))
        bucket.append(place)
        size += parameter.nbytes
        if group is None and size >= largest:
            done.append(bucket)
        else:
            filling[kind] = bucket, size
    return done + [bucket for bucket, _ in filling.values()]


def cut_as_measured(
    parameters: Sequence[torch.Tensor], arrivals: Sequence[float], cost: Cost | None, largest: int | None
) -> list[list[int]]:
    """Cut parameters by size, or in time where that would end clearly sooner.

    Parameters
    ----------
    parameters
        The parameters, in the order in which their gradients come.
    arrivals
        When they come, in seconds since the first; not falling.
    cost
        What a bucket takes, if it was measured.
    largest
        The size to cut by, if it is fixed.
    """
    by_size = cut_by_size(parameters, largest or DEFAULT_BYTES)
    if largest or cost is None:
        return by_size
    in_time = cut_in_time(parameters, arrivals, cost)
    sizes = [parameter.nbytes for parameter in parameters]
    sooner = _end(sizes, arrivals, cost, in_time) < _CLEARLY_SOONER * _end(sizes, arrivals, cost, by_size)
    return in_time if sooner else by_size


def cut_in_time(parameters: Sequence[torch.Tensor], arrivals: Sequence[float], cost: Cost) -> list[list[int]]:
    """Cut parameters into the buckets whose reduction would end soonest.

    A bucket starts when its last gradient is there and the bucket before it is done. So the end of the first `n` pieces
    is the least, over where their last bucket begins, of its start and its cost; and the sooner the pieces before
    it end, the better for all that follow.

    Parameters
    ----------
    parameters
        The parameters, in the order in which their gradients come.
    arrivals
        When they come, in seconds; not falling.
    cost
        What a bucket takes.

    Returns
    -------
    list of list of int
        The places of each bucket's parameters, in the order in which the buckets fill.
    """
    buckets: list[list[int]] = []
    for kind in dict.fromkeys((parameter.dtype, parameter.device) for parameter in parameters):
        places = [place for place, each in enumerate(parameters) if (each.dtype, each.device) == kind]
        total = sum(parameters[place].nbytes for place in places)
        smallest = max(_SMALLEST_PIECE, total // _MOST_PIECES)
        pieces = [[places[i] for i in piece] for piece in cut_by_size([parameters[p] for p in places], smallest)]
        sizes = [sum(parameters[place].nbytes for place in piece) for piece in pieces]
        for begin, end in _soonest(sizes, [arrivals[piece[-1]] for piece in pieces], cost):
            buckets.append([place for piece in pieces[begin:end] for place in piece])
    return sorted(buckets, key=lambda bucket: bucket[-1])


def _end(sizes: Sequence[int], arrivals: Sequence[float], cost: Cost, cut: Sequence[Sequence[int]]) -> float:
    """Return when the last bucket would be done."""
    end = 0.0
    for places in cut:
        size = sum(sizes[place] for place in places)
        end = max(end, arrivals[places[-1]]) + cost.seconds + size * cost.seconds_per_byte
    return end


def _soonest(sizes: Sequence[int], arrivals: Sequence[float], cost: Cost) -> list[tuple[int, int]]:
    """Return the first piece of each bucket, and the one after its last."""
    ends, begins = [0.0], [0]
    for piece, arrival in enumerate(arrivals):
        best, begin, size = float("inf"), piece, 0
        for first in range(piece, -1, -1):
            size += sizes[first]
            end = max(ends[first], arrival) + cost.seconds + size * cost.seconds_per_byte
            if end <= best:
                best, begin = end, first
        ends.append(best)
        begins.append(begin)
    bounds = [len(sizes)]
    while bounds[-1]:
        bounds.append(begins[bounds[-1]])
    bounds.reverse()
    return list(itertools.pairwise(bounds))
