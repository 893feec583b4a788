"""Deal a loader over an IterableDataset: every worker reads the whole stream and collates its slice of each batch.

A stream has no sampler to walk. What is cut is the list of samples that the loader is about to collate, in the process
that does it. So each global batch is the one that one worker would have had, whatever the dataset makes of its stream
and however it splits it over the loader's own processes; the price is that the stream is read once by each worker.
"""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, TypeVar

import torch
from torch.utils.data import IterableDataset, get_worker_info

from hora.errors import HoraError
from hora.torch.exceptions import HorovodInternalError
from hora.torch.exchange import agree
from hora.torch.handing import HandsOut
from hora.torch.shares import Share, share_of, slice_of
from hora.torch.slices import DealtBatchSampler
from hora.torch.stream import Stream, derive
from hora.torch.world import current

_T = TypeVar("_T")


class Slice(NamedTuple):
    """A worker's slice, collated, and what tells its global batch from others.

    A slice without samples in evaluation has no batch.
    """

    share: Share
    mark: int
    batch: Any


class Slicing:
    """A loader's `collate_fn` that collates a worker's slice of the samples; it is pickled for loader workers.

    Parameters
    ----------
    own
        The script's.
    rank, size
        Which slice of how many.
    evaluation
        Whether a slice without samples is left out instead of borrowing the whole batch.
    full
        How many samples a full global batch has.
    """

    def __init__(self, own: Callable[[Any], Any], rank: int, size: int, *, evaluation: bool, full: int) -> None:
        self.own, self._rank, self._size = own, rank, size
        self._evaluation, self._full = evaluation, full
        self.drawn: Drawn | None = None
        self._apart: tuple[int, Stream] | None = None

    def __call__(self, samples: list[Any]) -> Slice:
        """Collate the slice."""
        if self.drawn is not None:
            self.drawn.leave()
        mark = zlib.crc32(b"".join(map(_mark, samples)))
        with self._apart_from_the_stream():
            part = self._part(samples)
            share = share_of(part, len(samples), self._size)
            if share.samples:
                return Slice(share, mark, self.own(samples[part]))
            return Slice(share, mark, None if self._evaluation else self.own(list(samples)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "drawn": None, "_apart": None}

    def _apart_from_the_stream(self) -> ExitStack:
        """In a loader's process, let what collating draws be this worker's own: what the dataset draws stays common."""
        apart = ExitStack()
        if get_worker_info() is not None and self._size > 1:
            seed = torch.initial_seed()
            if self._apart is None or self._apart[0] != seed:
                self._apart = seed, Stream([derive(seed, self._rank)] * 3, 0)
            apart.enter_context(self._apart[1].drawing())
        return apart

    def cut(self, samples: Sequence[_T]) -> Sequence[_T]:
        """Give what is collated of the samples of a global batch."""
        return samples[self._part(samples)] or ([] if self._evaluation else samples)

    def _part(self, samples: Sequence[Any]) -> slice:
        return slice_of(len(samples), self._rank, self._size, self._full)


class Drawn(IterableDataset[Any]):
    """The dataset, read within this process: it draws from the shared stream, from a batch's first sample to its last.

    To exchange the states of all generators costs more than many a sample, so it is done once a batch.
    """

    def __init__(self, dataset: Any, stream: Stream) -> None:
        self._dataset, self._stream = dataset, stream
        self._inside: ExitStack | None = None

    def __iter__(self) -> Iterator[Any]:
        self._enter()
        try:
            samples = iter(self._dataset)
        finally:
            self.leave()
        return self._reading(samples)

    def _reading(self, samples: Iterator[Any]) -> Iterator[Any]:
        while True:
            self._enter()
            try:
                sample = next(samples)
            except StopIteration:
                self.leave()
                return
            except BaseException:
                self.leave()
                raise
            yield sample

    def _enter(self) -> None:
        if self._inside is None:
            self._inside = ExitStack()
            self._inside.enter_context(self._stream.drawing())

    def leave(self) -> None:
        """Give the script its own states back."""
        if self._inside is not None:
            inside, self._inside = self._inside, None
            inside.close()


class StreamSampler(DealtBatchSampler):
    """How far a stream has come: the sizes of its global batches, which hold no indices."""

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def begin(self) -> tuple[Stream, int, int]:
        """Begin an epoch: its random numbers, the seed of the loader's processes, and how many batches to leave out."""
        with self.one_epoch():
            return Stream(self._seeds, self.epoch), derive(*self._seeds, self.epoch, "workers"), self._skip


class StreamIterator(HandsOut):
    """Hands out this worker's slices, tells the loader the weight of each, and sees that all workers read the same.

    Parameters
    ----------
    loader
        The dealt loader.
    walk
        Makes the plain loader's iterator.

    Raises
    ------
    HorovodInternalError
        On all workers, at the first, second, fourth, eighth ... batch and at the end: their streams differ.
    """

    def __init__(self, loader: Any, walk: Callable[[], Iterator[Any]]) -> None:
        sampler: StreamSampler = loader.batch_sampler
        super().__init__(loader)
        self._read, self._mark = 0, 0
        stream, seed, skip = sampler.begin()
        loader.generator.manual_seed(seed)
        dataset, slicing = loader.dataset, loader.collate_fn
        if not loader.num_workers:
            slicing.drawn = Drawn(dataset, stream)
            loader.__dict__["dataset"] = slicing.drawn
        try:
            self._batches = walk()
        finally:
            loader.__dict__["dataset"] = dataset
        for _ in range(skip):
            if next(self._batches, None) is not None:
                self.handed += 1
        sampler._walker = weakref.ref(self)

    def __len__(self) -> int:
        return len(self._loader)

    def __next__(self) -> Any:
        while True:
            try:
                slice_: Slice = next(self._batches)
            except StopIteration:
                self.exhausted = True
                self._agree(f"the stream ends after {self._read} global batches")
                raise
            self._read += 1
            self._mark = zlib.crc32(slice_.mark.to_bytes(4, "little"), self._mark)
            if self._read & (self._read - 1) == 0:
                self._agree(f"{self._read} global batches are read")
            if slice_.batch is not None or slice_.share.samples:
                break
        self._hand_out(slice_.share)
        return slice_.batch

    def _agree(self, where: str) -> None:
        if current().size == 1:
            return
        try:
            agree([where, f"samples with the mark {self._mark}"], "a dealt stream")
        except HorovodInternalError as error:
            raise HoraError(
                "hvd.deal() of a loader over an IterableDataset",
                f"the workers read other samples, or in another order: {error}",
                "Let its __iter__ give the same on every worker: seed what it draws, sort what it lists, shard nothing",
            ) from error


# So many entries of a tensor tell samples apart, at no cost to speak of.
_ENTRIES = 16


def _mark(sample: Any) -> bytes:
    """A few bytes of what a sample holds, which hardly another has."""
    if isinstance(sample, torch.Tensor):
        return repr(sample.detach().flatten()[:_ENTRIES].tolist()).encode()
    if isinstance(sample, dict):
        return b"".join(map(_mark, sample.values()))
    if isinstance(sample, (list, tuple)):
        return b"".join(map(_mark, sample[:_ENTRIES]))
    if isinstance(sample, (str, bytes, int, float)):
        return repr(sample).encode()
    if hasattr(sample, "__array__") and hasattr(sample, "flat"):
        return repr([entry for entry, _ in zip(sample.flat, range(_ENTRIES), strict=False)]).encode()
    return b""
