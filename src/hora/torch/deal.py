"""Deal, do not shard: every worker walks the script's own sampler and takes its slice of each global batch.

Each global batch so holds the samples that one worker would have had, in every epoch, without padding. The sampler
draws its random numbers from a stream that all workers share (`stream`), apart from the script's own.
"""

from __future__ import annotations

import copy
import functools
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset, IterDataPipe
from torch.utils.data.distributed import DistributedSampler

from hora.errors import HoraError
from hora.torch.collating import WholeBatch
from hora.torch.exchange import agree
from hora.torch.gathering import allgather
from hora.torch.handing import HandsOut
from hora.torch.objects import broadcast_object
from hora.torch.reducing import allreduce
from hora.torch.slices import DealtBatchSampler, Joined, Walk
from hora.torch.stream import derive, generator_states, peek_seeds, set_generator_states
from hora.torch.streams import Slicing, StreamIterator, StreamSampler
from hora.torch.wire import Sum
from hora.torch.world import current

Sample = TypeVar("Sample")

_dealt: list[weakref.ref[DealtBatchSampler]] = []


def dealt_samplers() -> list[DealtBatchSampler]:
    """List the batch samplers of the loaders that were dealt and are still there, in the order of their dealing."""
    return [sampler for reference in _dealt if (sampler := reference()) is not None]


def deal(
    loader: DataLoader[Sample], *, evaluation: bool = False, scaling: str = "strong", collate: str = "slice"
) -> DataLoader[Sample]:
    """Return a copy of a loader that hands this worker its part of each of the loader's batches.

    The copy keeps the class, the attributes, `batch_size`, `dataset` and `len()`; the loader itself is left alone.
    All workers call this in the same order. After each batch its attribute `weight` is N times this worker's share of
    the samples, so that ``(loss * loader.weight).backward()``, averaged over the N workers, is the gradient of the mean
    over the global batch. Its attribute `first` is the place in the batch of the first sample that this worker was
    handed, for what is made for all samples: ``noise[loader.first : loader.first + len(x)]``. Its method `total` adds
    up a count over the workers, for means over entries that are no samples.

    Parameters
    ----------
    loader
        A DataLoader over a map-style dataset, with any sampler, or over an IterableDataset. Such a stream is read by
        each worker in full, N times in all, and must give the same samples in the same order on each: what it draws is
        seeded alike, and a stream that differs all the same is a HoraError on all workers.
    evaluation
        What a worker gets of a global batch with too few samples: where it is not full, a worker has two of them or
        none. In training (False) one without samples borrows the global batch with weight 0, as every worker has to
        take each step; in evaluation it gets no batch.
    scaling
        What the global batch is. ``"strong"``: a batch of the loader, whatever the number of workers. ``"weak"``: as
        many of its batches in a row as there are workers, so that each worker has one; ``len()`` becomes as much less.
    collate
        What the loader's `collate_fn` is given. ``"slice"``: the samples of the worker's slice. ``"batch"``: those of
        the global batch, of which the slice is cut then; what is padded to the longest sample, or sorted, is as on one
        worker. Each worker loads all samples for it. What cannot be cut is a HoraError at the first batch.

    Returns
    -------
    DataLoader
        The dealt loader; a loader that is dealt already is returned as it is.

    Raises
    ------
    HoraError
        The loader cannot be dealt: it makes no batches, it is sharded already, or it is a data pipe, which shards
        itself; there is no such scaling, or nothing else to collate; or a stream is to be collated by the batch.
    HorovodInternalError
        The workers' loaders differ in length.
    """
    if isinstance(getattr(loader, "batch_sampler", None), DealtBatchSampler):
        return loader
    _refuse(loader)
    if scaling not in ("strong", "weak"):
        raise HoraError(f"hvd.deal(scaling={scaling!r})", "there is no such scaling", 'Name "strong" or "weak"')
    if collate not in ("slice", "batch"):
        found = "there is no such thing to collate"
        raise HoraError(f"hvd.deal(collate={collate!r})", found, 'Name "slice" or "batch"')
    if collate == "batch" and isinstance(loader.dataset, IterableDataset):
        found = "a stream, whose samples are cut before they are put together"
        raise HoraError("hvd.deal(collate='batch')", found, "Leave out collate, and pad to a length of your own")
    if scaling == "weak" and isinstance(loader.dataset, IterableDataset) and loader.drop_last:
        found = "a stream whose last batch is dropped: how many batches in a row are left is known too late"
        raise HoraError("hvd.deal(scaling='weak')", found, "Leave out drop_last, or deal for strong scaling")
    generators = generator_states(loader)
    agree(
        [
            f"a dataset of {_length(loader.dataset)} samples",
            f"a batch sampler of {_length(loader.batch_sampler)} batches",
            f"{len(generators)} generators",
            f"{scaling} scaling",
            f"each {collate} collated",
        ],
        "hvd.deal()",
    )
    seeds, generators = broadcast_object((peek_seeds(next(current().deals)), generators), name="hvd.deal()")
    set_generator_states(loader, generators)
    dealt: Any = copy.copy(loader)
    plain: Any = type(loader)
    dealt.__class__ = _dealt_class(plain)
    # DataLoader refuses to have its batch sampler replaced once it is made.
    batches = dealt.batch_sampler if scaling == "strong" else Joined(dealt.batch_sampler, current().size)
    stream = isinstance(loader.dataset, IterableDataset)
    kind = StreamSampler if stream else DealtBatchSampler
    rank, size = current().rank, current().size
    full = (loader.batch_size or 0) * (batches.count if isinstance(batches, Joined) else 1)
    sampler = kind(batches, seeds, evaluation=evaluation, loader=loader, full=full, whole=collate == "batch")
    object.__setattr__(dealt, "batch_sampler", sampler)
    _dealt.append(weakref.ref(sampler, _dealt.remove))
    dealt._iterator = None
    # Batches are paired with their weights by their order.
    dealt.in_order = True
    if collate == "batch":
        dealt.collate_fn = WholeBatch(dealt.collate_fn, rank, size, full)
    if stream:
        dealt.collate_fn = Slicing(dealt.collate_fn, rank, size, evaluation=evaluation, full=full)
        dealt.generator = torch.Generator()
    elif dealt.generator is None:
        # What loader workers seed their augmentation from: something else on each worker.
        dealt.generator = torch.Generator().manual_seed(derive(*seeds, current().rank))
    result: DataLoader[Sample] = dealt
    return result


@functools.cache
def _dealt_class(plain: type[DataLoader[Any]]) -> type[DataLoader[Any]]:
    """Make the subclass that a dealt loader has; it has one base, so that it fits an object made before."""

    class Dealt(plain):  # type: ignore[misc, valid-type]
        __doc__ = plain.__doc__
        weight = 1.0
        first = 0

        def total(self, count: Any) -> Any:
            """Add up over the workers what each counts in its slice of the batch that was handed out last.

            A mean over entries whose number differs from worker to worker (tokens that are not padding, masked
            entries, class weights) is a slice's sum over what all workers count together. With gradients averaged,
            that sum is N times too small for it: ``(loss * hvd.size() * bool(loader.weight)).backward()``.

            Parameters
            ----------
            count
                A tensor, or a number. What a worker without samples counts in borrowed ones is left out.

            Returns
            -------
            torch.Tensor or int or float
                The same on all workers; `count` itself for one worker. Every worker calls it. Gradients go back through
                it to all workers, so that a loss of sums over the whole batch (a Dice loss) is averaged as it is.
            """
            return allreduce(count * bool(self.weight), op=Sum) if current().size > 1 else count

        def gather(self, entries: Any) -> Any:
            """Put together the entries of all samples of the batch that was handed out last, in the batch's order.

            What takes a sample's partner from anywhere in the batch (mixup, shuffled labels) finds it there.

            Parameters
            ----------
            entries
                One entry along the first axis for each sample of the slice: a tensor, or an array of NumPy's.

            Returns
            -------
            torch.Tensor or numpy.ndarray
                One entry for each sample of the global batch, the same on all workers; `entries` itself for one worker.
                Gradients go back to the workers that the entries came from. Every worker calls it.
            """
            size = current().size
            if size == 1:
                return entries
            if not isinstance(entries, torch.Tensor):
                return self.gather(torch.as_tensor(entries)).numpy()
            # A worker without samples of its own has borrowed the whole batch.
            own = entries[: len(entries) * bool(self.weight)]
            if own.requires_grad:
                # allgather() averages gradients, as Horovod's does; the losses of all workers add up in these.
                own.register_hook(lambda grad: grad * size)  # type: ignore[no-untyped-call]
            return allgather(own.contiguous())

        def __len__(self) -> int:
            sampler: DealtBatchSampler = self.batch_sampler
            batches: int = super().__len__()
            # A plain loader counts the batches of a stream by its dataset, and not by its batch sampler.
            if isinstance(sampler, StreamSampler) and isinstance(sampler.batches, Joined):
                return -(-batches // sampler.batches.count)
            return batches

        def __iter__(self) -> _DealtIterator | StreamIterator:
            sampler: DealtBatchSampler = self.batch_sampler
            before = sampler.walk
            if sampler._loader.generator is None and not isinstance(self.dataset, range):
                # A plain loader draws the seed of its workers here: what the script draws next stays what it was.
                torch.empty((), dtype=torch.int64).random_()
            if isinstance(sampler, StreamSampler):
                return StreamIterator(self, super().__iter__)
            if isinstance(self.collate_fn, WholeBatch) and self.collate_fn.serve(current().rank, current().size):
                # Processes that persist would go on cutting as before.
                self._iterator = None
            with sampler.one_epoch():
                batches = super().__iter__()
            walker = _DealtIterator(self, batches, None if sampler.walk is before else sampler.walk, sampler._skip)
            sampler._walker = weakref.ref(walker)
            return walker

    Dealt.__name__, Dealt.__qualname__, Dealt.__module__ = plain.__name__, plain.__qualname__, plain.__module__
    return Dealt


class _DealtIterator(HandsOut):
    """Hands out batches whose sampler knows the slices."""

    def __init__(self, loader: Any, batches: Iterator[Any], walk: Walk | None, handed: int) -> None:
        of: int | None = None
        with suppress(TypeError, NotImplementedError):  # a sampler need not know
            of = len(loader.batch_sampler)
        super().__init__(loader, handed, of)
        self._batches = batches
        self._walk = walk

    def __len__(self) -> int:
        return len(self._loader.batch_sampler)

    def __next__(self) -> Any:
        try:
            batch = next(self._batches)
        except StopIteration:
            self.exhausted = True
            raise
        # A subclass whose __iter__ is a generator walks the sampler only now.
        self._walk = self._walk or self._loader.batch_sampler.walk
        if self._walk is None or not self._walk.shares:
            raise HoraError(
                "hvd.deal()",
                f"{type(self._loader).__name__} hands out batches that its batch sampler did not make",
                "Deal a plain DataLoader, or slice each global batch by hvd.rank() where it is made",
            )
        self._hand_out(self._walk.shares.popleft())
        return batch


def _refuse(loader: object) -> None:
    """Refuse what cannot be dealt, with the reason."""
    asked = "hvd.deal()"
    if not isinstance(loader, DataLoader):
        raise HoraError(asked, f"{type(loader).__name__} is no DataLoader", "Deal the DataLoader itself")
    dataset = type(loader.dataset).__name__
    if isinstance(loader.dataset, IterDataPipe):
        raise HoraError(
            asked,
            f"{dataset} is a data pipe, which DataLoader shards over the workers itself",
            "Leave out hvd.deal(), and give it a sharding_filter()",
        )
    if loader.batch_sampler is None:
        raise HoraError(
            asked,
            f"the loader of {dataset} has batch_size=None and makes no batches; it cannot be dealt yet",
            "Give it a batch_size, or slice each global batch by hvd.rank()",
        )
    samplers = (loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None))
    if any(isinstance(sampler, DistributedSampler) for sampler in samplers):
        raise HoraError(
            asked,
            f"the loader of {dataset} has a DistributedSampler, so it is sharded already",
            "Take the DistributedSampler out, or leave out hvd.deal()",
        )


def _length(sized: Any) -> str:
    """Return the length of a dataset or sampler, as far as it has one."""
    try:
        return str(len(sized))
    except TypeError:
        return "an unknown number of"
