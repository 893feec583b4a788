"""A worker's slice of a global batch, from the sizes alone."""

from __future__ import annotations

import pytest

from hora.torch.shares import Share, share_of, slice_of


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("full", [0, 8, 30])
def test_the_slices_make_up_the_batch_in_the_order_of_ranks(size, full):
    for total in range(41):
        parts = [slice_of(total, rank, size, full) for rank in range(size)]
        assert [index for part in parts for index in range(total)[part]] == list(range(total))
        assert sum(share_of(part, total, size).weight for part in parts) == pytest.approx(size)


@pytest.mark.parametrize("size", [2, 3, 4, 7])
def test_nobody_has_one_sample_alone_of_a_batch_that_is_not_full(size):
    for total in range(2, 30):
        counts = {len(range(total)[slice_of(total, rank, size, full=30)]) for rank in range(size)}
        assert 1 not in counts
        assert max(counts) - min(counts - {0}) <= 1


def test_a_full_batch_goes_to_as_many_workers_as_it_has_samples():
    assert [slice_of(4, rank, 4, full=4) for rank in range(4)] == [slice(rank, rank + 1) for rank in range(4)]
    assert slice_of(1, 0, 4, full=8) == slice(0, 1)


def test_a_worker_without_samples_begins_with_the_batch_that_it_borrows():
    part = slice_of(3, 2, 3, full=8)
    assert share_of(part, 3, 3) == Share(first=0, samples=0, weight=0.0)
    assert share_of(slice(2, 6), 6, 3) == Share(first=2, samples=4, weight=2.0)
