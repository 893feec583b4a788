"""Random numbers that a dataset draws while it makes a sample: the same ones whoever makes it, in whatever order.

An augmentation takes its numbers from a stream that runs on from sample to sample, so another order, or another
worker, gives other pictures. Where runs are compared, each sample gets a stream of its own, seeded by its index.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias

import torch
from torch.utils.data import get_worker_info
from torch.utils.data._utils.fetch import _MapDatasetFetcher

from hora.script.events import Samples

DATA = "random numbers of the data, drawn per sample"

Collating: TypeAlias = Callable[[Samples], AbstractContextManager[None]]


@contextmanager
def drawn_per_sample(note: Callable[[str], None], collating: Collating) -> Iterator[None]:
    """Seed the generators by the sample's index while a sample is made.

    Parameters
    ----------
    note
        Told if a sample drew from them.
    collating
        What samples are put together within.
    """
    fetch = _MapDatasetFetcher.fetch
    _patch(note, collating)
    try:
        yield
    finally:
        _MapDatasetFetcher.fetch = fetch  # type: ignore[method-assign]


class SeededWorker:
    """A loader's `worker_init_fn` that draws per sample in a worker process too, also in one that is not a fork."""

    def __init__(self, own: Callable[[int], None] | None) -> None:
        self._own = own

    def __call__(self, worker: int) -> None:
        """Patch this process, a loader's worker."""
        if not hasattr(_MapDatasetFetcher.fetch, "per_sample"):
            # What happens in a worker process cannot be told from here, and is not needed to compare.
            _patch(_unheard, _nowhere)
        if self._own is not None:
            self._own(worker)


def _patch(note: Callable[[str], None], collating: Collating) -> None:
    fetch: Callable[[Any, Any], Any] = _MapDatasetFetcher.fetch

    def fetched(fetcher: Any, indices: Any) -> Any:
        if not fetcher.auto_collation:
            return fetch(fetcher, indices)
        samples = []
        for index in indices:
            with _own_stream(int(index)) as drew:
                samples.append(fetcher.dataset[index])
            if drew() and get_worker_info() is None:
                note(DATA)
        with collating(tuple(indices)):
            return fetcher.collate_fn(samples)

    fetched.per_sample = True  # type: ignore[attr-defined]
    _MapDatasetFetcher.fetch = fetched  # type: ignore[method-assign]


def _unheard(_what: str) -> None:
    pass


def _nowhere(_samples: Samples) -> AbstractContextManager[None]:
    return nullcontext()


@contextmanager
def _own_stream(seed: int) -> Iterator[Callable[[], bool]]:
    """Swap the global generators for ones seeded by `seed`; the context's value tells whether they were drawn from."""
    numpy = sys.modules.get("numpy")
    torch_state, random_state = torch.get_rng_state(), random.getstate()
    numpy_state = None if numpy is None else numpy.random.get_state()
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    if numpy is not None:
        numpy.random.seed(seed % 2**32)
    fresh_torch, fresh_random = torch.get_rng_state(), random.getstate()
    fresh_numpy = None if numpy is None else numpy.random.get_state()[2]
    drew = False
    try:
        yield lambda: drew
    finally:
        drew = not torch.equal(fresh_torch, torch.get_rng_state()) or fresh_random != random.getstate()
        torch.set_rng_state(torch_state)
        random.setstate(random_state)
        if numpy is not None:
            drew = drew or numpy.random.get_state()[2] != fresh_numpy
            numpy.random.set_state(numpy_state)
