"""What is put together for a whole global batch is cut into slices that are those of one worker's batch."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader, IterableDataset

import hora.torch as hvd
from hora.errors import HoraError

LENGTHS = [3, 1, 4, 1, 5, 2, 6, 5, 3, 5, 2, 7, 1]
SENTENCES = [torch.arange(length) + 10.0 * place for place, length in enumerate(LENGTHS)]
Pair = collections.namedtuple("Pair", "words length")


class Batch:
    def __init__(self, words):
        self.words, self.width = words, 2


def second(sentences):
    """The samples along the second axis, as pad_sequence lays them unless it is told otherwise."""
    return pad_sequence(sentences)


def sorted_by_length(sentences):
    sentences.sort(key=len, reverse=True)
    return pad_sequence(sentences, batch_first=True), [len(one) for one in sentences], torch.tensor(7)


def by_name(sentences):
    words = pad_sequence(sentences, batch_first=True)
    lengths = np.array([len(one) for one in sentences])
    return {"pair": Pair(words, lengths), "names": ("a", "b"), "turned": words.T[None]}


def of_a_class(sentences):
    return Batch(pad_sequence(sentences, batch_first=True))


def packed(sentences):
    return pack_sequence(sentences, enforce_sorted=False)


def drawn(sentences):
    """Masks at random, from the script's own stream."""
    return pad_sequence(sentences, batch_first=True), torch.rand(len(sentences))


CASES = {"second": 1, "sorted_by_length": 0, "by_name": 0, "of_a_class": 0, "packed": 0}


def parts(batch, axis):
    """The parts that count samples, as tensors whose first axis does."""
    if isinstance(batch, torch.Tensor | np.ndarray):
        return [torch.as_tensor(batch).movedim(axis, 0)] if batch.ndim > axis else []
    if isinstance(batch, Batch):
        assert batch.width == 2
        return [batch.words]
    if hasattr(batch, "batch_sizes"):
        return list(pad_packed_sequence(batch, batch_first=True, total_length=7))
    if isinstance(batch, dict):
        assert batch["names"] == ("a", "b")
        words, length = batch["pair"]
        return [words, torch.as_tensor(length), batch["turned"][0].T]
    words, lengths, same = batch
    assert same == 7
    return [words, torch.tensor(lengths)]


def walked(name, collate, num_workers=0, evaluation=False):
    torch.manual_seed(0)
    loader = DataLoader(SENTENCES, batch_size=5, shuffle=True, collate_fn=globals()[name], num_workers=num_workers)
    loader = hvd.deal(loader, evaluation=evaluation, collate=collate)
    seen = []
    for batch in loader:
        seen.append((loader.weight, loader.first, [part.tolist() for part in parts(batch, CASES[name])]))
    return seen


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_slices_of_a_batch_are_those_of_one_workers_batch(pool, name, size):
    (alone,) = pool.run(walked, name, "slice", size=1)
    workers = pool.run(walked, name, "batch", size=size)
    assert all(len(walk) == len(alone) == 3 for walk in workers)
    for step, (_, _, whole) in enumerate(alone):
        for place, part in enumerate(whole):
            joined = [one for walk in workers if walk[step][0] for one in walk[step][2][place]]
            assert joined == part
        assert [walk[step][1] for walk in workers if walk[step][0]] == sorted(
            walk[step][1] for walk in workers if walk[step][0]
        )


def test_slices_are_padded_to_their_own_longest_otherwise(pool):
    widths = {
        collate: [[len(step[2][0][0]) for step in walk] for walk in pool.run(walked, "second", collate, size=2)]
        for collate in ("batch", "slice")
    }
    assert widths["batch"][0] == widths["batch"][1]
    assert widths["slice"][0] != widths["slice"][1]


def test_loader_workers_cut_too_and_evaluation_leaves_empty_slices_out(pool):
    (alone,) = pool.run(walked, "by_name", "slice", size=1)
    workers = pool.run(walked, "by_name", "batch", 2, True, size=4)
    # The last batch has three samples: one worker has them all.
    assert [len(walk) for walk in workers] == [3, 2, 2, 2]
    assert [one for walk in workers for one in walk[0][2][0]] == alone[0][2][0]


def served_again():
    loader = hvd.deal(DataLoader(SENTENCES[:4], batch_size=4, collate_fn=second, num_workers=1), collate="batch")
    loader.collate_fn.serve(0, 4)
    return [batch.shape[1] for batch in loader]


def test_another_worker_than_before_cuts_its_own_slice(pool):
    assert pool.run(served_again, size=2) == [[2], [2]]


def borrowed():
    loader = hvd.deal(DataLoader(SENTENCES[:2], batch_size=5, collate_fn=second), collate="batch")
    return [(batch.shape, loader.weight) for batch in loader]


def test_a_worker_without_samples_borrows_the_batch(pool):
    assert pool.run(borrowed, size=3) == [[((3, 2), 3.0)], [((3, 2), 0.0)], [((3, 2), 0.0)]]


def random_numbers():
    torch.manual_seed(0)
    loader = hvd.deal(DataLoader(SENTENCES, batch_size=5, collate_fn=drawn), collate="batch")
    return [draws.tolist() for _, draws in loader], torch.rand(()).item()


def test_the_second_look_draws_nothing_of_the_scripts(pool):
    (whole, after), *_ = pool.run(random_numbers, size=1)
    for part, then in pool.run(random_numbers, size=2):
        assert all(set(own) <= set(all_) for own, all_ in zip(part, whole, strict=True))
        assert then == after


def laid_end_to_end(sentences):
    return torch.cat(sentences), [len(one) for one in sentences]


def counted(sentences):
    return pad_sequence(sentences), sum(map(len, sentences))


def lengthened(sentences):
    return [torch.zeros(2)] * (2 * len(sentences))


def cut(collate):
    loader = DataLoader(SENTENCES, batch_size=5, collate_fn=collate)
    return next(iter(hvd.deal(loader, collate="batch")))


@pytest.mark.parametrize(
    ("collate", "found"),
    [
        (laid_end_to_end, r"the batch\[0\] .* shape \(14,\) for 5 samples, \(19,\) for 6"),
        (counted, r"the batch\[1\] .* 14 for 5 samples, 19 for 6"),
        (lengthened, "the batch that .* 10 entries for 5 samples, 12 for 6"),
    ],
)
def test_what_cannot_be_cut_is_named(pool, collate, found):
    for outcome in pool.outcomes(cut, collate, size=2):
        assert outcome.error is not None
        with pytest.raises(HoraError, match=found):
            raise outcome.error


class Stream(IterableDataset):
    def __iter__(self):
        return iter(SENTENCES)


def test_what_is_no_batch_is_refused(pool):
    with pytest.raises(HoraError, match="there is no such thing to collate"):
        hvd.deal(DataLoader(SENTENCES), collate="all")
    with pytest.raises(HoraError, match="a stream, whose samples are cut"):
        hvd.deal(DataLoader(Stream()), collate="batch")
