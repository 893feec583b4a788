"""A stream is read by every worker, and each global batch is cut: together the workers have what one worker has."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

import hora.torch as hvd
from hora.errors import HoraError
from hora.torch.deal import dealt_samplers


class Shuffled(IterableDataset):
    """Numbers that go through a buffer shuffled with each library's random numbers; split over a loader's processes."""

    def __init__(self, length, own=False):
        self.length = length
        self.rng = random.Random() if own else random

    def __len__(self):
        return self.length

    def __iter__(self):
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        buffer = []
        for number in range(first, self.length, step):
            buffer.append(number)
            if len(buffer) == 6:
                place = (self.rng.randrange(6) + np.random.randint(6) + int(torch.randint(6, ()))) % 6
                yield buffer.pop(place)
        yield from buffer


def noisy(samples):
    """Collate with random numbers, more of them for a longer slice."""
    return torch.tensor(samples), torch.rand(len(samples))


LOADERS = {
    "plain": lambda: DataLoader(Shuffled(22), batch_size=5),
    "own generator": lambda: DataLoader(Shuffled(22, own=True), batch_size=5),
    "drop_last": lambda: DataLoader(Shuffled(22), batch_size=5, drop_last=True),
    "collated at random": lambda: DataLoader(Shuffled(22), batch_size=5, collate_fn=noisy),
    "loader workers": lambda: DataLoader(Shuffled(22), batch_size=5, num_workers=2, collate_fn=noisy),
    "persistent": lambda: DataLoader(Shuffled(22), batch_size=5, num_workers=2, persistent_workers=True),
}


def walk(kind, evaluation=False, scaling="strong"):
    """Return, for each of two epochs, the batches that this worker got with their weights."""
    random.seed(hvd.rank())
    np.random.seed(hvd.rank())
    torch.manual_seed(hvd.rank())
    loader = hvd.deal(LOADERS[kind](), evaluation=evaluation, scaling=scaling)
    assert hvd.deal(loader) is loader
    seen = []
    for _ in range(2):
        batches = []
        for batch in loader:
            torch.rand(1 + hvd.rank())
            random.random()
            numbers = batch[0] if isinstance(batch, (list, tuple)) else batch
            batches.append((numbers.tolist(), loader.weight))
        seen.append(batches)
    return seen, len(loader)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(
    "kind", [kind if "ers" not in kind else pytest.param(kind, marks=pytest.mark.slow) for kind in LOADERS]
)
def test_together_the_workers_have_one_workers_batches(pool, kind, size):
    sizes = [5, 5, 5, 5, 2] if kind != "drop_last" else [5, 5, 5, 5]
    if "ers" in kind:  # each of a loader's two processes has a tail of its own
        sizes = [5, 5, 5, 5, 1, 1]
    everyone = pool.run(walk, kind, size=size)
    epochs = []
    for epoch in range(2):
        batches = list(zip(*(seen[epoch] for seen, _ in everyone), strict=True))
        own = [[number for numbers, weight in slices if weight for number in numbers] for slices in batches]
        assert list(map(len, own)) == sizes
        for slices, batch in zip(batches, own, strict=True):
            for numbers, weight in slices:
                assert weight == pytest.approx(size * len(numbers) / len(batch)) or (weight == 0 and numbers == batch)
        whole = sorted(number for batch in own for number in batch)
        assert whole == list(range(22)) or (kind == "drop_last" and len(set(whole)) == 20)
        epochs.append(own)
    assert epochs[0] != epochs[1], "another order in each epoch"


def test_evaluation_and_weak_scaling(pool):
    everyone = pool.run(walk, "plain", True, size=3)
    assert [len(seen[0]) for seen, _ in everyone] == [5, 4, 4], "the last batch has two samples"
    assert sorted(n for seen, _ in everyone for numbers, _ in seen[0] for n in numbers) == list(range(22))
    everyone = pool.run(walk, "plain", False, "weak", size=2)
    assert [[len(numbers) for numbers, _ in seen[0]] for seen, _ in everyone] == [[5, 5, 2], [5, 5, 2]]
    assert [length for _, length in everyone] == [3, 3]


class Different(IterableDataset):
    """From its third global batch on another stream on each worker."""

    def __iter__(self):
        for number in range(12):
            yield number if number < 4 else (number, time.time(), hvd.rank())[number % 3]


def parted():
    return [batch.tolist() for batch in hvd.deal(DataLoader(Different(), batch_size=2))]


def test_streams_that_differ_raise_on_every_worker(pool):
    for outcome in pool.outcomes(parted, size=2):
        assert isinstance(outcome.error, HoraError)
        assert "4 global batches are read" in str(outcome.error) or "other samples" in str(outcome.error)
        assert "shard nothing" in str(outcome.error)


def resumed():
    """Walk two batches of the second epoch; then go on from there in a loader made anew."""
    hvd.init()
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    first = hvd.deal(LOADERS["plain"]())
    list(first)
    walking = iter(first)
    begun = [next(walking).tolist() for _ in range(2)]
    state = first.batch_sampler.state_dict()
    rest = [batch.tolist() for batch in walking]
    second = hvd.deal(LOADERS["plain"]())
    assert second.batch_sampler in dealt_samplers()
    second.batch_sampler.load_state_dict(state)
    return begun, rest, [batch.tolist() for batch in second]


def test_an_epoch_goes_on_where_it_was(pool):
    for begun, rest, again in pool.run(resumed, size=2):
        assert len(begun) == 2
        assert again == rest
