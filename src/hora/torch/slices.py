"""The worker's slice of each global batch: the script's own batch sampler, walked under the shared stream."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader

from hora.torch.handing import HandsOut
from hora.torch.shares import Share, share_of, slice_of
from hora.torch.stream import Stream, generator_states, set_generator_states
from hora.torch.world import current


class Joined:
    """Joins batches in a row to one; the last may hold fewer."""

    def __init__(self, batches: Any, count: int) -> None:
        self._batches, self.count = batches, count

    def __len__(self) -> int:
        return -(-len(self._batches) // self.count)

    def __iter__(self) -> Iterator[list[Any]]:
        batches = iter(self._batches)
        while joined := [index for batch in islice(batches, self.count) for index in batch]:
            yield joined


class DealtBatchSampler:
    """Walks a script's batch sampler under the shared stream and hands out this worker's slice of each batch.

    Parameters
    ----------
    batches
        The script's batch sampler.
    seeds
        Worker 0's seeds of the shared stream.
    evaluation
        Whether a slice without samples is left out instead of borrowing some.
    loader
        The script's loader, whose generators belong to the position.
    full
        How many samples a full global batch has; 0 where that is not known.
    whole
        Whether the samples of the whole batch are handed out, of which the slice is cut where they are put together.

    Attributes
    ----------
    batches
        The script's batch sampler. An observer may put another source of global batches here.
    evaluation
        As above.
    full, whole
        As above.
    epoch
        Which epoch the walk is in, counted from 1; it selects the stream's random numbers.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        seeds: Sequence[int],
        *,
        evaluation: bool,
        loader: DataLoader[Any],
        full: int = 0,
        whole: bool = False,
    ) -> None:
        self.batches = batches
        self.full, self.whole = full, whole
        self.epoch = 0
        self.walk: Walk | None = None
        self._seeds = seeds
        self.evaluation = evaluation
        self._pinned = False
        self._loader = loader
        self._generators = generator_states(loader)
        self._skip = 0
        # Where this epoch goes on after a restart, and who walks it; None where it has not come that far.
        self._resume: int | None = None
        self._walker: weakref.ref[HandsOut] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return how far the walk has come: the epoch, and the global batches that its loop was handed."""
        walker = self._under_way()
        handed = self._resume if walker is None else walker.handed
        generators = generator_states(self._loader) if handed is None else self._generators
        return {"seeds": self._seeds, "epoch": self.epoch, "handed": handed, "generators": generators}

    def is_under_way(self) -> bool:
        """Whether a loop is within an epoch."""
        return self._under_way() is not None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there: the next walk is the rest of that epoch, or the next epoch where it was over."""
        self._seeds, self.epoch, self._resume = state["seeds"], state["epoch"], state["handed"]
        self._generators, self._walker = state["generators"], None
        set_generator_states(self._loader, self._generators)

    def _under_way(self) -> HandsOut | None:
        """Return what a loop that is within an epoch takes its batches from."""
        walker = None if self._walker is None else self._walker()
        return None if walker is None or walker.exhausted else walker

    def _begin(self) -> None:
        """Begin an epoch, or go on with the one that a restart cut short."""
        self._skip, self._resume, fresh = self._resume or 0, None, self._resume is None
        if fresh:
            self.epoch += 1
            self._generators = generator_states(self._loader)

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        if not self._pinned:
            self._begin()
        stream = Stream(self._seeds, self.epoch)
        self.walk = Walk(self.batches, stream, self._skip, evaluation=self.evaluation, full=self.full, whole=self.whole)
        return self.walk

    @contextmanager
    def one_epoch(self) -> Iterator[None]:
        """Begin an epoch that lasts while a loader makes its iterator, which may walk the sampler more than once."""
        self._begin()
        self._pinned = True
        try:
            yield
        finally:
            self._pinned = False


class Walk:
    """One pass over the global batches; remembers this worker's shares of those that it handed out."""

    def __init__(
        self, batches: Iterable[Any], stream: Stream, skip: int, *, evaluation: bool, full: int, whole: bool
    ) -> None:
        self.shares: deque[Share] = deque()
        self._stream = stream
        self._evaluation, self._full, self._whole = evaluation, full, whole
        self._rank, self._size = current().rank, current().size
        with stream.drawing():
            self._batches = iter(batches)
            for _ in range(skip):
                next(self._batches, None)

    def __iter__(self) -> Walk:
        return self

    def __next__(self) -> Any:
        while True:
            with self._stream.drawing():
                batch = next(self._batches)
            if not hasattr(batch, "__getitem__"):
                batch = list(batch)
            total = len(batch)
            part = slice_of(total, self._rank, self._size, self._full)
            share = share_of(part, total, self._size)
            if share.samples or not total or not self._evaluation:
                self.shares.append(share)
                return batch[part if share.weight and not self._whole else slice(None)]
