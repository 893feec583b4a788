"""Each global batch holds what one worker would have had, cut in slices; the weights make the slices' mean its mean."""

from __future__ import annotations

import copy
import itertools
import random

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torch.utils.data.datapipes.iter import IterableWrapper
from torch.utils.data.distributed import DistributedSampler

import hora.torch as hvd
from hora.errors import HoraError
from hora.torch import at_hand
from hora.torch.shares import slice_of
from hora.torch.slices import DealtBatchSampler


class Numbers(Dataset):
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return index


class Noisy(Numbers):
    """Augments: each sample comes with a random number of each library."""

    def __getitem__(self, index):
        return index, torch.rand(()).item(), random.random(), np.random.rand()


class NumpyBatches:
    """A batch sampler of the script's own: no Sampler, eager, and it draws from numpy and random."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return 4

    def __iter__(self):
        order = np.random.permutation(self.length)
        random.shuffle(order)
        return iter(np.array_split(order, 4))


class OwnGenerators(Sampler):
    """A sampler that holds generators of all the libraries, seeded by the operating system."""

    def __init__(self, length):
        self.length = length
        self.rng = np.random.default_rng()
        self.python = random.Random()
        self.torch = torch.Generator()
        self.torch.seed()

    def __len__(self):
        return self.length

    def __iter__(self):
        yield from self.rng.permutation(self.length).tolist()
        yield self.python.randrange(self.length)
        yield int(torch.randint(self.length, (), generator=self.torch))


def weighted(length):
    return WeightedRandomSampler(torch.arange(1.0, length + 1), length)


def generator():
    generator = torch.Generator()
    generator.seed()
    return generator


LOADERS = {
    "shuffle": lambda: DataLoader(Numbers(22), batch_size=5, shuffle=True),
    "in order": lambda: DataLoader(Numbers(22), batch_size=5),
    "drop_last": lambda: DataLoader(Numbers(22), batch_size=5, shuffle=True, drop_last=True),
    "weighted": lambda: DataLoader(Numbers(22), batch_size=5, sampler=weighted(22)),
    "subset": lambda: DataLoader(Numbers(22), batch_size=5, sampler=SubsetRandomSampler(range(3, 20))),
    "batch sampler": lambda: DataLoader(Numbers(22), batch_sampler=BatchSampler(RandomSampler(range(22)), 7, False)),
    "own batches": lambda: DataLoader(Numbers(22), batch_sampler=NumpyBatches(22)),
    "generator": lambda: DataLoader(Numbers(22), batch_size=5, shuffle=True, generator=generator()),
    "sampler's generator": lambda: DataLoader(
        Numbers(22), batch_size=5, sampler=RandomSampler(range(22), generator=generator())
    ),
    "own generators": lambda: DataLoader(Numbers(22), batch_size=5, sampler=OwnGenerators(22)),
    "loader workers": lambda: DataLoader(Numbers(22), batch_size=5, shuffle=True, num_workers=2),
    "persistent": lambda: DataLoader(
        Numbers(22), batch_size=5, shuffle=True, num_workers=2, persistent_workers=True, prefetch_factor=1
    ),
}


def walk(kind, epochs):
    """Return, for each epoch, the batches that this worker got with their weights."""
    random.seed(hvd.rank())
    np.random.seed(hvd.rank())
    torch.manual_seed(hvd.rank())
    loader = hvd.deal(LOADERS[kind]())
    seen = []
    for epoch in range(epochs):
        batches = []
        for batch in loader:
            # As dropout would on some worker only.
            torch.rand(hvd.rank() + epoch)
            random.random()
            batches.append((batch.tolist(), loader.weight))
        seen.append(batches)
    return seen, len(loader), loader.batch_size


def join(walks):
    """Put the workers' slices together again: for each epoch the global batches."""
    epochs = zip(*(seen for seen, _, _ in walks), strict=True)
    return [
        [flatten(batch for batch, weight in parts if weight) for parts in zip(*epoch, strict=True)] for epoch in epochs
    ]


def flatten(lists):
    return list(itertools.chain.from_iterable(lists))


@pytest.mark.parametrize("kind", LOADERS)
def test_any_number_of_workers_walks_the_same_global_batches(pool, kind):
    one = pool.run(walk, kind, 3, size=1)
    if kind in ("generator", "sampler's generator", "own generators"):
        # Seeded by the operating system, so only workers of one run agree.
        one = None
    for size in (2, 3):
        walks = pool.run(walk, kind, 3, size=size)
        batches = join(walks)
        plain = LOADERS[kind]()
        assert {(length, batch_size) for _, length, batch_size in walks} == {(len(plain), plain.batch_size)}
        assert [len(epoch) for epoch in batches] == [len(plain)] * 3 or kind == "own generators"
        if one is not None:
            assert batches == join(one)
        for worker, (seen, _, _) in enumerate(walks):
            for epoch, whole in zip(seen, batches, strict=True):
                for (batch, weight), full in zip(epoch, whole, strict=True):
                    part = slice_of(len(full), worker, size, plain.batch_size or 0)
                    assert batch == (full[part] or full)
                    assert weight == size * len(full[part]) / len(full)
        if kind not in ("in order", "weighted", "subset", "own generators"):
            assert [sorted(flatten(epoch)) for epoch in batches] == [list(range(22))] * 3 or kind == "drop_last"
        if kind != "in order":
            assert batches[0] != batches[1] != batches[2]


def test_the_order_does_not_depend_on_loader_workers(pool):
    batches = [join(pool.run(walk, kind, 2, size=2)) for kind in ("shuffle", "loader workers", "persistent")]
    assert batches[0] == batches[1] == batches[2]


def states_around(kind):
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    before = torch.get_rng_state()
    torch.empty((), dtype=torch.int64).random_()  # the seed that a plain loader draws for its workers
    states = [torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())]
    torch.set_rng_state(before)
    loader = hvd.deal(LOADERS[kind]())
    list(loader)
    return states == [torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())]


@pytest.mark.parametrize("kind", ["shuffle", "own batches"])
def test_dealing_and_walking_draw_no_more_of_the_script_s_random_numbers_than_a_plain_loader(pool, kind):
    assert pool.run(states_around, kind, size=1) == [True]
    assert pool.run(states_around, kind, size=2) == [True, True]


def two_loaders():
    torch.manual_seed(1)
    first, second = (hvd.deal(DataLoader(Numbers(30), batch_size=30, shuffle=True)) for _ in range(2))
    return next(iter(first)).tolist(), next(iter(second)).tolist()


def test_two_loaders_have_streams_of_their_own(pool):
    for first, second in pool.run(two_loaders, size=2):
        assert first != second


def early_breaks(num_workers):
    torch.manual_seed(1)
    loader = hvd.deal(DataLoader(Numbers(40), batch_size=5, shuffle=True, num_workers=num_workers))
    seen = []
    for stop in (1, 3, 8):
        for index, batch in enumerate(loader, 1):
            seen.append((batch.tolist(), loader.weight))
            if index == stop:
                break
    return seen


@pytest.mark.parametrize("num_workers", [0, 2])
def test_weights_stay_with_their_batches_after_an_early_end(pool, num_workers):
    walks = pool.run(early_breaks, num_workers, size=2)
    for mine, other in zip(*walks, strict=True):
        assert len(mine[0]) + len(other[0]) == 5
        assert (mine[1], other[1]) == (2 * 2 / 5, 2 * 3 / 5)
    assert sorted(flatten(batch for walk in walks for batch, _ in walk[4:])) == list(range(40))


def two_at_once():
    torch.manual_seed(1)
    loader = hvd.deal(DataLoader(Numbers(11), batch_size=4, shuffle=True))
    return [(a.tolist(), b.tolist(), loader.weight) for a, b in zip(loader, loader, strict=True)]


def test_two_iterators_at_once(pool):
    for size in (1, 2):
        walks = pool.run(two_at_once, size=size)
        for side in (0, 1):
            assert sorted(flatten(step[side] for walk in walks for step in walk if step[2])) == list(range(11))
        assert any(step[0] != step[1] for step in walks[0])
        assert [step[2] for step in walks[0]] == [1.0, 1.0, 1.0 if size == 1 else 2.0]


def few_samples(evaluation):
    loader = hvd.deal(DataLoader(Numbers(6), batch_size=4), evaluation=evaluation)
    return [(batch.tolist(), loader.weight) for batch in loader], len(loader)


def test_a_worker_without_samples_borrows_them_with_weight_0(pool):
    walks = pool.run(few_samples, False, size=4)
    assert [seen for seen, _ in walks] == [
        [([0], 1.0), ([4, 5], 4.0)],
        [([1], 1.0), ([4, 5], 0.0)],
        [([2], 1.0), ([4, 5], 0.0)],
        [([3], 1.0), ([4, 5], 0.0)],
    ]
    assert {length for _, length in walks} == {2}


def test_in_evaluation_a_worker_without_samples_gets_no_batch(pool):
    walks = pool.run(few_samples, True, size=4)
    assert [[batch for batch, _ in seen] for seen, _ in walks] == [[[0], [4, 5]], [[1]], [[2]], [[3]]]
    assert {length for _, length in walks} == {2}


def augmentation(own_generator, num_workers):
    torch.manual_seed(3)
    kept = torch.Generator().manual_seed(hvd.rank()) if own_generator else None
    loader = hvd.deal(DataLoader(Noisy(8), batch_size=4, num_workers=num_workers, generator=kept))
    return [torch.stack([x.double() for x in batch[1:]]).tolist() for _ in range(2) for batch in loader]


def test_loader_workers_augment_differently_on_each_worker(pool):
    first, second = pool.run(augmentation, False, 2, size=2)
    assert first != second
    numbers = [number for batch in first for library in batch for number in library]
    assert len(set(numbers)) == len(numbers), "an epoch repeats the numbers of another"
    # A generator of the script's own decides, as it did for one worker.
    first, second = pool.run(augmentation, True, 2, size=2)
    assert first == second


class Doubling(DataLoader):
    """A script's own loader class, with an attribute and a generator for an iterator."""

    def __init__(self, *args, factor, **kwargs):
        super().__init__(*args, **kwargs)
        self.factor = factor

    def __iter__(self):
        for batch in super().__iter__():
            yield batch * self.factor


def subclass():
    loader = Doubling(Numbers(5), batch_size=4, factor=2)
    dealt = hvd.deal(loader)
    assert isinstance(dealt, Doubling)
    assert type(dealt).__name__ == "Doubling"
    assert dealt is not loader
    assert type(loader) is Doubling
    assert len(next(iter(loader))) == 4
    assert hvd.deal(dealt) is dealt
    return [(batch.tolist(), dealt.weight) for batch in dealt], dealt.factor, len(copy.copy(dealt))


def test_a_subclass_keeps_its_class_and_attributes(pool):
    assert pool.run(subclass, size=2) == [
        ([([0, 2], 1.0), ([8], 2.0)], 2, 2),
        ([([4, 6], 1.0), ([8], 0.0)], 2, 2),
    ]


def replaced_batches():
    loader = hvd.deal(DataLoader(Numbers(8), batch_size=4, shuffle=True))
    assert isinstance(loader.batch_sampler, DealtBatchSampler)
    loader.batch_sampler.batches = [[7, 6, 5, 4], (3, 2)]
    return [batch.tolist() for batch in loader]


def test_an_observer_can_put_its_own_batches_in(pool):
    assert pool.run(replaced_batches, size=2) == [[[7, 6], [3, 2]], [[5, 4], [3, 2]]]


class Stream(IterableDataset):
    def __iter__(self):
        yield from range(3)


class Stale(DataLoader):
    """Hands out batches of an iterator that it made when it was constructed."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.kept = super().__iter__()

    def __iter__(self):
        return self.kept


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (lambda: DataLoader(Stream(), batch_size=None), "the loader of Stream has batch_size=None"),
        (lambda: DataLoader(IterableWrapper(range(3)), batch_size=2), "is a data pipe, which DataLoader shards"),
        (lambda: DataLoader(Numbers(3), batch_size=None), "the loader of Numbers has batch_size=None"),
        (
            lambda: DataLoader(Numbers(3), sampler=DistributedSampler(Numbers(3), num_replicas=2, rank=0)),
            "has a DistributedSampler, so it is sharded already",
        ),
        (lambda: [1, 2, 3], "list is no DataLoader"),
    ],
)
def test_what_cannot_be_dealt_is_refused_by_name(loader, message):
    hvd.init()
    try:
        with pytest.raises(HoraError, match=message):
            hvd.deal(loader())
    finally:
        hvd.shutdown()


def test_a_loader_that_goes_around_its_batch_sampler_is_refused():
    hvd.init()
    try:
        loader = hvd.deal(Stale(Numbers(4), batch_size=2))
        with pytest.raises(HoraError, match="Stale hands out batches that its batch sampler did not make"):
            next(iter(loader))
    finally:
        hvd.shutdown()


def different_lengths():
    data = Subset(Numbers(20), range(10 + hvd.rank()))
    hvd.deal(DataLoader(data, sampler=SequentialSampler(data), batch_size=2))


def test_loaders_of_different_lengths_raise_on_every_worker(pool):
    for outcome in pool.outcomes(different_lengths, size=2):
        assert isinstance(outcome.error, hvd.HorovodInternalError)
        assert "worker 0 has a dataset of 10 samples, worker 1 has a dataset of 11 samples" in str(outcome.error)


def counted(length, batch_size, dtype):
    """What all count together in each batch, where each sample counts by its own number."""
    loader = hvd.deal(DataLoader(Numbers(length), batch_size=batch_size))
    return [loader.total(batch.sum().to(dtype)).item() for batch in loader]


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64])
def test_a_total_counts_each_sample_of_the_global_batch_once(pool, dtype):
    for size in (1, 3):
        # The last batch has one sample: two workers borrow it.
        assert pool.run(counted, 9, 4, dtype, size=size) == [[6, 22, 8]] * size


def counted_by_the_runtime():
    """What is counted in each batch while evaluation, with and without gradients, comes between."""
    held = hvd.deal(DataLoader(Numbers(5), batch_size=2), evaluation=True)
    found = []
    for batch in hvd.deal(DataLoader(Numbers(9), batch_size=4)):
        with torch.no_grad():
            whole = [hvd.total(other.sum()).item() for other in DataLoader(Numbers(3), batch_size=3)]
        sum(1 for _ in held)
        loader = hvd.loader()
        found.append((hvd.total(batch.sum()).item(), whole, loader.total(1) == hvd.total(1)))
    return found


def test_the_batch_at_hand_is_the_one_that_was_handed_out_last_for_training(pool):
    for size in (1, 2, 3):
        expected = [(total, [3], True) for total in (6, 22, 8)]
        assert pool.run(counted_by_the_runtime, size=size) == [expected] * size


def test_a_loader_is_asked_for_before_any_has_handed_out_a_batch(monkeypatch):
    monkeypatch.setattr(at_hand, "_at_hand", None)
    assert hvd.total(3) == 3
    with pytest.raises(HoraError, match=r"no loader that hvd\.deal") as caught:
        hvd.loader()
    assert "inside the loop over the batches" in str(caught.value)


def mixed_with_partners(length, batch_size, share):
    """The gradients of each step in which each sample is mixed, before and inside the network, with its partner."""
    torch.manual_seed(0)
    inputs, first, last = (
        torch.randn(length, 4).double(),
        torch.nn.Linear(4, 5).double(),
        torch.nn.Linear(5, 1).double(),
    )
    loader = hvd.deal(DataLoader(inputs, batch_size=batch_size))
    optimizer = torch.optim.SGD([*first.parameters(), *last.parameters()], lr=0.1)
    optimizer = hvd.DistributedOptimizer(optimizer)
    found = []
    for step, x in enumerate(loader):
        samples = min(batch_size, length - step * batch_size)
        order = torch.randperm(samples, generator=torch.Generator().manual_seed(step))
        if share:
            begin = loader.first
            order = order[begin : begin + len(x)]
        hidden = torch.tanh(first(0.7 * x + 0.3 * loader.gather(x)[order]))
        loss = last(0.6 * hidden + 0.4 * loader.gather(hidden)[order]).pow(2).mean()
        optimizer.zero_grad()
        (loss * loader.weight).backward()
        optimizer.step()
        found.append([one.grad.tolist() for one in (first.weight, first.bias, last.weight, last.bias)])
    return found


@pytest.mark.parametrize("size", [2, 3, 4])
def test_partners_come_from_the_whole_batch_and_gradients_go_back_to_them(pool, size):
    # The last batch has two samples, which one worker takes and the others borrow.
    (alone,) = pool.run(mixed_with_partners, 14, 6, False, size=1)
    for gradients in pool.run(mixed_with_partners, 14, 6, True, size=size):
        for one, other in zip(alone, gradients, strict=True):
            for expected, found in zip(one, other, strict=True):
                exact = {"dtype": torch.float64}
                torch.testing.assert_close(
                    torch.tensor(found, **exact), torch.tensor(expected, **exact), rtol=0, atol=1e-14
                )


def kept_for_a_score(length, batch_size):
    """Labels as arrays of NumPy, kept over an epoch."""
    loader = hvd.deal(DataLoader(torch.arange(length), batch_size=batch_size))
    kept = [loader.gather(x.numpy()) for x in loader]
    return {type(one) for one in kept}, np.concatenate(kept).tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_arrays_are_gathered_in_the_order_of_the_batch(pool, size):
    # The last batch has two samples, as above.
    for types, labels in pool.run(kept_for_a_score, 14, 6, size=size):
        assert types == {np.ndarray}
        assert labels == list(range(14))


def gradients_of_a_mean_over_what_is_not_ignored(ignored):
    """The gradients of a step whose workers hold one, two and no targets that count, and the mean of their losses."""
    torch.manual_seed(0)
    inputs, model = torch.randn(6, 4, dtype=torch.float64), torch.nn.Linear(4, 3).double()
    targets = torch.tensor([1, ignored, 2, 1, ignored, ignored])
    loader = hvd.deal(DataLoader(list(zip(inputs, targets, strict=True)), batch_size=6))
    hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
    for x, y in loader:
        total = torch.nn.functional.cross_entropy(model(x), y, ignore_index=0, reduction="sum")
        loss = total / loader.total((y != 0).sum())
        (loss * hvd.size() * bool(loader.weight)).backward()
    return [model.weight.grad.tolist(), hvd.allreduce(loss.item(), op=hvd.Sum)]


def test_a_worker_without_entries_does_not_spoil_a_mean_over_them(pool):
    (alone,) = pool.run(gradients_of_a_mean_over_what_is_not_ignored, 0, size=1)
    for gradient, loss in pool.run(gradients_of_a_mean_over_what_is_not_ignored, 0, size=3):
        torch.testing.assert_close(torch.tensor(gradient), torch.tensor(alone[0]))
        assert loss == pytest.approx(alone[1])


def dealt_weakly(length):
    torch.manual_seed(3)
    loader = hvd.deal(DataLoader(Numbers(length), 4, shuffle=True), scaling="weak")
    epochs = [[(batch.tolist(), loader.weight) for batch in loader] for _ in range(2)]
    return len(loader), epochs


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("length", [24, 23, 5])
def test_weak_scaling_joins_as_many_batches_as_there_are_workers(pool, size, length):
    results = pool.run(dealt_weakly, length, size=size)
    assert {result[0] for result in results} == {-(-length // (4 * size)) if length > 4 else 1}
    for epoch in range(2):
        steps = list(zip(*(result[1][epoch] for result in results), strict=True))
        seen = [sample for step in steps for batch, weight in step for sample in batch if weight]
        assert sorted(seen) == list(range(length))
        assert all(len(batch) == 4 for step in steps[:-1] for batch, _ in step)
        for step in steps:
            assert sum(weight for _, weight in step) == pytest.approx(size)
    assert results[0][1][0] != results[0][1][1]


def train_weakly(whole):
    """Train on a sampler's batches, joined by `deal` on several workers, or `whole` at once on one."""
    torch.manual_seed(1)
    model = torch.nn.Linear(3, 1).double()
    x = torch.randn(40, 3, dtype=torch.float64)
    size = whole or hvd.size()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1 * size, momentum=0.9)
    loader = DataLoader(torch.utils.data.TensorDataset(x), 4 * whole if whole else 4)
    if not whole:
        loader, optimizer = hvd.deal(loader, scaling="weak"), hvd.DistributedOptimizer(optimizer)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / size, total_iters=2 * len(loader))
    optimizer.register_step_post_hook(lambda *_: warmup.step())
    for _ in range(3):
        for (batch,) in loader:
            optimizer.zero_grad()
            (model(batch).square().mean() * (1.0 if whole else loader.weight)).backward()
            optimizer.step()
    return [parameter.detach() for parameter in model.parameters()], optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("size", [2, 3, 4])
def test_weak_scaling_trains_what_one_worker_trains_on_the_larger_batch(pool, size):
    expected, rate = train_weakly(size)
    for parameters, own_rate in pool.run(train_weakly, 0, size=size):
        assert own_rate == pytest.approx(rate) == pytest.approx(0.1 * size)
        for parameter, other in zip(parameters, expected, strict=True):
            assert torch.allclose(parameter, other, rtol=0, atol=1e-12)


def cut_along_another_axis(length, batch_size):
    """Entries that do not lie in a row, as where a whole batch is cut along its second axis."""
    rows = torch.arange(2.0 * length).view(2, length)
    loader = hvd.deal(DataLoader(torch.arange(length), batch_size=batch_size))
    return [loader.gather(rows.t()[places]).tolist() for places in loader]


def overlap_of_the_batch(length, batch_size):
    """The gradients of a loss of sums over the whole batch, by each step, where the loader has no name."""
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(length, 4, generator=generator).double(), torch.rand(length, generator=generator)
    loader = hvd.deal(DataLoader(TensorDataset(inputs, targets.double()), batch_size=batch_size))
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 1).double()
    optimizer = hvd.DistributedOptimizer(torch.optim.SGD(layer.parameters(), lr=0.1))
    found = []
    for x, y in loader:
        guess = torch.sigmoid(layer(x)).squeeze(1)
        loss = 1 - (2 * hvd.total((guess * y).sum()) + 1) / (hvd.total(guess.sum() + y.sum()) + 1)
        optimizer.zero_grad()
        (loss + ((guess - y) ** 2).mean() * loader.weight).backward()
        optimizer.step()
        found.append([*layer.weight.grad.flatten().tolist(), layer.bias.grad.item()])
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_entries_that_do_not_lie_in_a_row_are_gathered(pool, size):
    expected = [[[float(i), float(i + 14)] for i in batch] for batch in (range(6), range(6, 12), range(12, 14))]
    assert pool.run(cut_along_another_axis, 14, 6, size=size) == [expected] * size


@pytest.mark.parametrize("size", [2, 3, 4])
def test_gradients_go_back_through_a_total_to_all_workers(pool, size):
    # The last batch has two samples, which one worker takes and the others borrow.
    [alone] = pool.run(overlap_of_the_batch, 14, 6, size=1)
    for found in pool.run(overlap_of_the_batch, 14, 6, size=size):
        exact = {"dtype": torch.float64}
        torch.testing.assert_close(torch.tensor(found, **exact), torch.tensor(alone, **exact), rtol=0, atol=1e-14)
