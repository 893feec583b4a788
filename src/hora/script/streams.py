"""Observe and override what a loader over an IterableDataset hands out; its samples are known by what they hold.

A stream has no numbers for its samples and no sampler to put another order in. The samples of each batch are seen where
they are collated, in whichever process that is, below the runtime's dealing. What one worker was handed is kept on
disk, and in a replay it is what is collated.
"""

from __future__ import annotations

import hashlib
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from hora.script.digest import digest
from hora.script.events import PassPlanned, StreamRead
from hora.script.precision import in_float64
from hora.torch.streams import Slicing

if TYPE_CHECKING:
    from hora.script.passes import Passes, Walked

# So many batches of a pass are read to find its end.
_AHEAD = 200
# How many of its batches a shortened pass has is the same for streams of the same length, and another for those that
# are up to so many batches shorter: workers whose streams end at different times do so in a shortened pass, too.
_KEPT = 3


class Seen(NamedTuple):
    """A batch with the identities of its samples, and these themselves if they are to be kept."""

    samples: list[int]
    kept: list[Any] | None
    batch: Any


class Seeing:
    """A loader's `collate_fn` that looks at the samples before its own gets them; it is pickled for loader workers."""

    def __init__(self, own: Callable[[Any], Any], *, keeps: bool) -> None:
        self._own, self._keeps = own, keeps

    def __call__(self, samples: list[Any]) -> Seen:
        """Collate."""
        identities = [identity(sample) for sample in samples]
        return Seen(identities, list(samples) if self._keeps else None, self._own(samples))


def identity(sample: Any) -> int:
    """A number for what a sample holds: the same for the same bits."""
    hashed = hashlib.blake2b(digest_size=8)
    _feed(hashed.update, sample)
    return int.from_bytes(hashed.digest(), "little") >> 1


def _feed(update: Callable[[bytes], None], value: Any) -> None:
    if isinstance(value, torch.Tensor):
        update(f"{value.dtype}{tuple(value.shape)}{digest(value)}".encode())
    elif isinstance(value, dict):
        for key, item in value.items():
            update(repr(key).encode())
            _feed(update, item)
    elif isinstance(value, (list, tuple)):
        update(f"{len(value)}".encode())
        for item in value:
            _feed(update, item)
    elif isinstance(value, (str, bytes, int, float, bool, type(None))):
        update(repr(value).encode())
    else:
        update(pickle.dumps(value))


class StreamWalk:
    """A pass over a stream, as the script walks it.

    Parameters
    ----------
    loader
        The script's loader.
    original
        Makes the loader's own iterator.
    walked
        Which pass over which loader it is.
    passes
        Told of it.
    replayed
        Whether the samples are those that `Replay.samples` has, and the stream itself is not read.
    """

    def __init__(
        self,
        loader: DataLoader[Any],
        original: Callable[[DataLoader[Any]], Iterator[Any]],
        walked: Walked,
        passes: Passes,
        replayed: bool,
    ) -> None:
        self._loader, self._walked, self._passes = loader, walked, passes
        self._collate: Callable[[Any], Any] = loader.collate_fn
        self._dealt = isinstance(self._collate, Slicing)
        self._index = 0
        passes.emit(PassPlanned(walked.name, walked.number, (), 0, repeats=True))
        if replayed:
            self._batches = self._replayed()
            return
        loader.__dict__["collate_fn"] = Seeing(self._collate, keeps=passes.knobs.keep_samples is not None)
        try:
            self._own = original(loader)
        finally:
            loader.__dict__["collate_fn"] = self._collate
        self._batches = self._own if passes.knobs.by_steps else self._shortened(self._own)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self._loader)

    def __next__(self) -> Any:
        passes, walked = self._passes, self._walked
        passes.batch = None
        try:
            seen = next(self._batches)
        except StopIteration:
            passes.ended(walked)
            raise
        keep = passes.knobs.keep_samples
        if keep is not None and seen.kept is not None:
            keep.mkdir(parents=True, exist_ok=True)
            torch.save(seen.kept, _place(keep, walked, self._index))
        walked.planned = (*walked.planned, tuple(seen.samples))
        own = self._collate.cut(seen.samples) if isinstance(self._collate, Slicing) else seen.samples
        walked.handed.append(tuple(own))
        passes.loaded(walked, self._index)
        self._index += 1
        batch = in_float64(seen.batch) if passes.float64 else seen.batch
        if not self._dealt:
            passes.handed(batch)
        return batch

    def _shortened(self, batches: Iterator[Seen]) -> Iterator[Seen]:
        """The first batches of a pass and its last ones; all between them are read and left out."""
        first = max(1, self._passes.knobs.pass_length - _KEPT + 1)
        read: list[int] = []
        count = 0
        for seen in batches:
            count += 1
            read += seen.samples
            yield seen
            if count == first:
                break
        last: deque[Seen] = deque(maxlen=_KEPT - 1)
        ended = True
        for seen in batches:
            count += 1
            read += seen.samples
            last.append(seen)
            if count == first + _AHEAD:
                ended = False
                break
        name, number = self._walked.name, self._walked.number
        self._passes.emit(StreamRead(name, number, count, tuple(read), ended))
        if ended:
            left = (count - first) % _KEPT
            yield from list(last)[len(last) - left :]
            return
        self._passes.remarks[f"of a pass over {name} the first {count} batches were looked at, and not its end"] = None
        yield from batches

    def _replayed(self) -> Iterator[Seen]:
        """The samples that one worker was handed, as many of them as are this worker's."""
        passes, walked = self._passes, self._walked
        samples_of = passes.knobs.replay.samples
        assert samples_of is not None
        while (path := _place(samples_of, walked, self._index)).exists():
            # The script's own samples, of whatever classes, as its own run has just written them.
            samples: Sequence[Any] = torch.load(path, weights_only=False)
            order = passes.permuted(tuple(range(len(samples))))
            if not self._dealt:
                order = passes.own_slice(walked, order)
            samples = [samples[place] for place in order]
            yield Seen([identity(sample) for sample in samples], None, self._collate(samples))


def _place(directory: Path, walked: Walked, index: int) -> Path:
    return directory / f"{walked.name}-{walked.number}-{index}.pt"
