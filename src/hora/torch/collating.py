"""Put the samples of a whole global batch together, and cut the worker's slice out of what that gives.

A `collate_fn` that pads to the longest sample, or that sorts, gives a slice of the samples something else than it gives
the batch: other lengths, another order. Here each worker collates the whole batch, as one worker would, and takes its
samples out of every part of the result. Which axis of a part counts samples shows when one sample is put in twice: it
is the one that grows by one. The price is that each worker loads all samples.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from hora.errors import HoraError
from hora.torch.shares import slice_of
from hora.torch.stream import Stream

_T = TypeVar("_T")


class WholeBatch:
    """A loader's `collate_fn` that collates a global batch and gives the worker's slice; pickled for loader workers.

    Parameters
    ----------
    own
        The script's.
    rank, size
        Which slice of how many.
    full
        How many samples a full global batch has; 0 where that is not known.
    """

    def __init__(self, own: Callable[[list[Any]], Any], rank: int, size: int, full: int) -> None:
        self.own, self._rank, self._size, self._full = own, rank, size, full
        self._found: Any = None

    def __call__(self, samples: list[Any]) -> Any:
        """Collate the samples of a global batch and cut the slice; one without samples is the whole batch.

        Raises
        ------
        HoraError
            A part of what the script's `collate_fn` gives has no axis, or no entries, that count the samples.
        """
        batch = self.own(list(samples))
        part = self._part(samples)
        if part.stop == part.start or part.stop - part.start == len(samples):
            return batch
        if self._found is None or not _fits(self._found, batch, len(samples)):
            # What is drawn for the second look is nobody's.
            with Stream([0, 0, 0], 0).drawing():
                self._found = _parts(batch, self.own([*samples, samples[-1]]), len(samples), "")
        return _cut(self._found, batch, part)

    def serve(self, rank: int, size: int) -> bool:
        """Cut for a worker from here on; give whether it is another one, as after an elastic job has changed."""
        before, (self._rank, self._size) = (self._rank, self._size), (rank, size)
        return before != (rank, size)

    def cut(self, samples: Sequence[_T]) -> Sequence[_T]:
        """Give those of a global batch's samples that the worker is handed."""
        return samples[self._part(samples)] or samples

    def _part(self, samples: Sequence[Any]) -> slice:
        return slice_of(len(samples), self._rank, self._size, self._full)


@dataclass(frozen=True)
class _Axis:
    """A tensor or an array whose samples lie along an axis; a list or tuple with an entry for each has axis 0."""

    axis: int


@dataclass(frozen=True)
class _Inner:
    """What has parts of its own, by their keys, places or names."""

    parts: Mapping[Any, Any]


_SAME, _PACKED = object(), object()
"""A part that is alike for any samples, and a packed sequence."""


def _parts(batch: Any, more: Any, count: int, where: str) -> Any:
    """Say how each part of a batch is cut, by what it is with one sample more."""
    if type(batch) is not type(more):
        raise _uncut(where, f"a {type(batch).__name__} for {count} samples, a {type(more).__name__} for {count + 1}")
    if isinstance(batch, PackedSequence):
        return _PACKED
    if hasattr(batch, "shape") and hasattr(batch, "dtype"):
        return _axis(tuple(batch.shape), tuple(more.shape), count, where)
    if isinstance(batch, Mapping):
        return _Inner({key: _parts(value, more[key], count, f"{where}[{key!r}]") for key, value in batch.items()})
    if isinstance(batch, list | tuple):
        if (len(batch), len(more)) == (count, count + 1):
            return _Axis(0)
        if len(batch) != len(more):
            raise _uncut(where, f"{len(batch)} entries for {count} samples, {len(more)} for {count + 1}")
        pairs = zip(batch, more, strict=True)
        return _Inner({at: _parts(*pair, count, f"{where}[{at}]") for at, pair in enumerate(pairs)})
    if isinstance(batch, str | bytes | int | float | bool | type(None)):
        if batch != more:
            raise _uncut(where, f"{batch!r} for {count} samples, {more!r} for {count + 1}")
        return _SAME
    if hasattr(batch, "__dict__"):
        return _Inner(
            {name: _parts(value, vars(more)[name], count, f"{where}.{name}") for name, value in vars(batch).items()}
        )
    return _SAME


def _axis(shape: tuple[int, ...], more: tuple[int, ...], count: int, where: str) -> Any:
    if shape == more:
        return _SAME
    grown = [axis for axis, (one, other) in enumerate(zip(shape, more, strict=False)) if one != other]
    if len(shape) != len(more) or len(grown) > 1 or (shape[grown[0]], more[grown[0]]) != (count, count + 1):
        raise _uncut(where, f"shape {shape} for {count} samples, {more} for {count + 1}")
    return _Axis(grown[0])


def _uncut(where: str, found: str) -> HoraError:
    return HoraError(
        'hvd.deal(collate="batch")',
        f"the batch{where} that collate_fn gives cannot be cut by its samples: {found}",
        "Give one entry for each sample there, or take the worker's part of it where it is used",
    )


def _fits(found: Any, batch: Any, count: int) -> bool:
    """Whether a batch has the parts that were found in another."""
    if isinstance(found, _Axis):
        if isinstance(batch, list | tuple):
            return len(batch) == count
        shape = getattr(batch, "shape", ())
        return len(shape) > found.axis and shape[found.axis] == count
    if isinstance(found, _Inner):
        own = _inner(batch)
        return own.keys() == found.parts.keys() and all(_fits(part, own[at], count) for at, part in found.parts.items())
    return isinstance(batch, PackedSequence) == (found is _PACKED)


def _inner(batch: Any) -> Mapping[Any, Any]:
    """Give the parts of what has such, by their keys, places or names."""
    if isinstance(batch, Mapping):
        return batch
    return dict(enumerate(batch)) if isinstance(batch, list | tuple) else getattr(batch, "__dict__", {})


def _cut(found: Any, batch: Any, part: slice) -> Any:
    """Give the samples of a slice out of a batch."""
    if isinstance(found, _Axis):
        return batch[(slice(None),) * found.axis + (part,)] if hasattr(batch, "shape") else batch[part]
    if found is _PACKED:
        entries, lengths = pad_packed_sequence(batch, batch_first=True)
        return pack_padded_sequence(entries[part], lengths[part], batch_first=True, enforce_sorted=False)
    if not isinstance(found, _Inner):
        return batch
    parts = {at: _cut(one, _inner(batch)[at], part) for at, one in found.parts.items()}
    if isinstance(batch, list | tuple):
        kind: Any = type(batch)
        return kind(*parts.values()) if hasattr(batch, "_fields") else kind(parts.values())
    cut: Any = copy.copy(batch)
    if isinstance(batch, Mapping):
        for key, value in parts.items():
            cut[key] = value
    else:
        cut.__dict__.update(parts)
    return cut
