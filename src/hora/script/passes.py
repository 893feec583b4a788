"""Observe and override what DataLoaders hand out: which batches a pass holds, and which samples reach this worker.

Two places are wrapped. The *outer* one, what the loader really fetches, tells the samples that this worker is handed.
The *inner* one, the script's own batch sampler below the runtime's dealing, is where a pass is shortened and where
recorded global batches are put in place of drawn ones, so that the dealing itself stays part of what is observed. A
loader that the runtime does not deal has both in the same place; in a replay its batches are then cut here, whatever
its script does to shard them. Loaders over streams, which have no sampler, are a subject of their own (`streams`).
"""

from __future__ import annotations

import random
import weakref
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from hora.script.augmentation import SeededWorker
from hora.script.events import BatchLoaded, Event, PassBegan, PassEnded, PassPlanned, Samples
from hora.script.knobs import Knobs
from hora.script.latent import Batch
from hora.script.precision import in_float64
from hora.script.randomness import seed_everything
from hora.script.streams import StreamWalk
from hora.torch.collating import WholeBatch
from hora.torch.shares import slice_of
from hora.torch.slices import DealtBatchSampler

# A sampler that draws more samples than this in one pass is taken for endless and not walked to its end.
_ENDLESS = 5_000_000


class StopRun(BaseException):
    """Ends an observed run; not an Exception, so that a script's own handlers let it through."""


@dataclass
class Walked:
    """A loader that was walked at least once.

    `planned` holds the global batches of its pass, `handed` queues this worker's samples that are drawn but not loaded.
    `numbers`: it hands out numbers alone, by which a converted script cuts its data; the original has no such loader.
    """

    name: str
    numbers: bool = False
    number: int = -1
    planned: tuple[Samples, ...] = ()
    handed: deque[Samples] = field(default_factory=deque)


class Passes:
    """The passes over all DataLoaders of a run, on worker `rank` of `size`."""

    def __init__(self, knobs: Knobs, rank: int, size: int, emit: Callable[[Event], None]) -> None:
        self.knobs, self._rank, self._size, self.emit = knobs, rank, size, emit
        self._walked: weakref.WeakKeyDictionary[DataLoader[Any], Walked] = weakref.WeakKeyDictionary()
        self._same_name: Counter[str] = Counter()
        self._training: set[str] = set()
        self._last_loaded: str | None = None
        self._training_batches = 0
        self.remarks: dict[str, None] = {}
        self.float64 = knobs.float64
        self.batch: Batch | None = None
        self.handed: Callable[[Any], None] = lambda _: None
        """Told of each batch that the script is handed and the runtime has not cut."""

    @property
    def training(self) -> bool:
        """Whether an optimizer has stepped on a batch of any loader."""
        return bool(self._training)

    def note_step(self) -> None:
        """Remember that an optimizer steps on the batch that was loaded last: its loader is one that trains."""
        if self._last_loaded is not None and self._last_loaded not in self._training:
            self._training.add(self._last_loaded)
            self._training_batches += 1

    def length(self, own: int) -> int:
        """Tell how many batches a pass of `own` batches has under observation."""
        return own if self.knobs.by_steps else min(own, self.knobs.pass_length)

    def walk(self, loader: DataLoader[Any], original: Callable[[DataLoader[Any]], Iterator[Any]]) -> Iterator[Any]:
        """Begin a pass over `loader`, whose own `__iter__` is `original`."""
        walked = self._walked.get(loader)
        if walked is None:
            walked = self._walked[loader] = Walked(self._name(loader), isinstance(loader.dataset, range))
        walked.number += 1
        walked.handed = deque()
        source = loader.batch_sampler
        dealt = isinstance(source, DealtBatchSampler)
        stream = isinstance(loader.dataset, IterableDataset) and source is not None
        self.emit(PassBegan(walked.name, walked.number, dealt, stream))
        if stream:
            replay = self.knobs.replay
            replayed = replay.samples is not None and (walked.name, walked.number) in replay.batches
            walked.planned = ()
            return StreamWalk(loader, original, walked, self, replayed)
        if source is None:
            self.remarks[f"{walked.name} gives its samples no numbers: its batches are not followed"] = None
            return original(loader)
        if isinstance(source, DealtBatchSampler):
            if not isinstance(source.batches, _Planned):
                source.batches = _Planned(source.batches, self, walked)
            fetched: Iterable[Any] = source
        else:
            fetched = _Planned(source, self, walked, cut=True)
        if self.knobs.neutralise and loader.num_workers and not isinstance(loader.worker_init_fn, SeededWorker):
            loader.worker_init_fn = SeededWorker(loader.worker_init_fn)
        # The loader keeps its own sampler for whoever asks; only the iterator made here reads through the tap.
        # Of samples that are put together in full the worker is handed a slice.
        whole = loader.collate_fn if isinstance(loader.collate_fn, WholeBatch) else None
        loader.__dict__["batch_sampler"] = _Tap(fetched, walked, whole)
        try:
            iterator = original(loader)
        finally:
            loader.__dict__["batch_sampler"] = source
        return _Watched(iterator, walked, self, dealt)

    def plan(self, walked: Walked, own: Iterable[Any], cut: bool) -> Iterator[list[int]]:
        """Yield the global batches of the pass that `walked` is in; `cut` them for this worker in a replay."""
        recorded = self.knobs.replay.batches.get((walked.name, walked.number))
        if recorded is None:
            batches, samples, distinct = self._drawn(own)
        else:
            batches, samples = [self.permuted(batch) for batch in recorded], sum(map(len, recorded))
            distinct = len({sample for batch in batches for sample in batch})
        planned = tuple(map(tuple, batches))
        walked.planned = planned
        self.emit(PassPlanned(walked.name, walked.number, planned, samples, repeats=distinct < samples))
        for batch in batches:
            yield self.own_slice(walked, batch) if recorded is not None and cut else batch

    def own_slice(self, walked: Walked, batch: list[int]) -> list[int]:
        """Cut a recorded global batch for this worker, unless its script does."""
        if self._size == 1 or walked.name in self.knobs.replay.uncut:
            return batch
        own = batch[slice_of(len(batch), self._rank, self._size)]
        return own or batch[:1]

    def loaded(self, walked: Walked, index: int) -> None:
        """Report that a batch reaches the script, and end the run when it has had enough of them."""
        if walked.name in self._training:
            if self._training_batches >= self.knobs.steps and not self.knobs.by_steps:
                raise StopRun
            self._training_batches += 1
        self._last_loaded = walked.name
        own = walked.handed.popleft()
        if not walked.numbers:
            # The original hands out no such batch: what it draws for its samples belongs to none.
            self.batch = Batch(self.knobs.seed, walked.name, walked.number, index, own, walked.planned[index])
        if self.knobs.neutralise and self.batch is not None:
            # What a step draws for its global batch is then alike in every run, whatever its loaders drew before.
            seed_everything(zlib.crc32(self.batch.name.encode()))
        self.emit(BatchLoaded(walked.name, walked.number, index, own))

    def ended(self, walked: Walked) -> None:
        """Report that a pass is over; what steps now steps on something else, unless it lags behind its loader."""
        if self._last_loaded == walked.name and walked.name not in self._training:
            self._last_loaded = None
        self.emit(PassEnded(walked.name, walked.number))

    def _drawn(self, own: Iterable[Any]) -> tuple[list[list[int]], int, int]:
        """Draw a whole pass, as the script would for its random numbers too; shorten it.

        Returns the batches that are left, and how many samples, and different ones, the whole pass held.
        """
        first: list[list[int]] = []
        last: list[int] | None = None
        samples, distinct = 0, set[int]()
        for batch in own:
            if last is not None and (self.knobs.by_steps or len(first) <= self.knobs.steps):
                first.append(last)
            last = [int(sample) for sample in batch]
            samples += len(last)
            distinct.update(last)
            if samples > _ENDLESS:
                # Its script counts on there being a next batch: no pass of it may end before the run does.
                self.remarks[f"a pass draws more than {_ENDLESS:,} samples: taken for endless"] = None
                return first, samples, len(distinct)
        if not self.knobs.by_steps:
            first = first[: self.knobs.pass_length - 1]
        return ([*first, last] if last is not None else []), samples, len(distinct)

    def _name(self, loader: DataLoader[Any]) -> str:
        if isinstance(loader.dataset, IterableDataset):
            # A conversion by hand may give the stream another class, and count another number of samples in it.
            name = "IterableDataset"
        else:
            try:
                length = str(len(loader.dataset))  # type: ignore[arg-type]
            except TypeError:
                length = "?"
            name = f"{type(loader.dataset).__name__}[{length}]"
        self._same_name[name] += 1
        return name if self._same_name[name] == 1 else f"{name}#{self._same_name[name]}"

    def permuted(self, batch: Samples) -> list[int]:
        """Put a recorded batch into the order of the replay."""
        seed = self.knobs.replay.permutation
        return list(batch) if seed is None else random.Random(f"{seed} {batch}").sample(batch, len(batch))


class _Planned:
    """A batch sampler whose batches the observer decides; everything else is the script's own sampler's."""

    def __init__(self, own: Iterable[Any], passes: Passes, walked: Walked, *, cut: bool = False) -> None:
        self._own, self._passes, self._walked, self._cut = own, passes, walked, cut

    def __iter__(self) -> Iterator[list[int]]:
        return self._passes.plan(self._walked, self._own, self._cut)

    def __len__(self) -> int:
        return len(self._own)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


class _Tap:
    """A batch sampler that notes what it hands on."""

    def __init__(self, source: Iterable[Any], walked: Walked, whole: WholeBatch | None) -> None:
        self._source, self._walked, self._whole = source, walked, whole

    def __iter__(self) -> Iterator[Any]:
        # The source is walked at once, as the loader does, and not when the first batch is drawn.
        return self._noting(iter(self._source))

    def __len__(self) -> int:
        return len(self._source)  # type: ignore[arg-type]

    def _noting(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            samples = tuple(map(int, batch))
            self._walked.handed.append(samples if self._whole is None else tuple(self._whole.cut(samples)))
            yield batch


class _Watched:
    """A DataLoader's iterator that reports each batch as the script receives it."""

    def __init__(self, iterator: Iterator[Any], walked: Walked, passes: Passes, dealt: bool) -> None:
        self._iterator, self._walked, self._passes, self._index = iterator, walked, passes, 0
        self._dealt = dealt

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._passes.batch = None
        try:
            batch = next(self._iterator)
        except StopIteration:
            self._passes.ended(self._walked)
            raise
        self._passes.loaded(self._walked, self._index)
        self._index += 1
        batch = in_float64(batch) if self._passes.float64 else batch
        if not self._dealt:
            self._passes.handed(batch)
        return batch

    def __len__(self) -> int:
        return len(self._iterator)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._iterator, name)
