"""How gradients are cut into buckets."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hora.errors import HoraError
from hora.torch import layout
from hora.torch.layout import Cost, cut_as_measured, cut_by_size, cut_in_time, fixed_bytes


def parameters(*sizes, dtype=torch.float32):
    return [torch.empty(size, dtype=dtype) for size in sizes]


def test_by_size_a_bucket_closes_when_it_is_large_enough():
    assert cut_by_size(parameters(5, 5, 5, 1), 40) == [[0, 1], [2, 3]]
    assert cut_by_size(parameters(50, 1), 40) == [[0], [1]]
    assert cut_by_size([], 40) == []


def test_by_size_kinds_are_apart_and_groups_stay_together():
    mixed = [*parameters(9), *parameters(9, dtype=torch.float64), *parameters(9)]
    assert cut_by_size(mixed, 72) == [[1], [0, 2]]
    several = parameters(50, 50, 50, 50)
    assert cut_by_size(several, 200, groups=[[several[0], several[2]]]) == [[1], [3], [0, 2]]


def test_in_time_what_costs_much_to_start_is_started_once():
    assert cut_in_time(parameters(*[20_000] * 5), [0.0] * 5, Cost(1.0, 1e-9)) == [[0, 1, 2, 3, 4]]


def test_in_time_what_comes_late_goes_alone():
    assert cut_in_time(parameters(*[20_000] * 3), [0.0, 0.0, 9.0], Cost(1e-3, 1e-6)) == [[0, 1], [2]]


def test_in_time_buckets_of_several_kinds_are_in_the_order_in_which_they_fill():
    mixed = [*parameters(20_000), *parameters(20_000, dtype=torch.float64), *parameters(20_000)]
    assert cut_in_time(mixed, [0.0, 0.1, 0.2], Cost(1.0, 1e-9)) == [[1], [0, 2]]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5)), min_size=1, max_size=8),
    st.integers(0, 5),
    st.integers(0, 3),
)
def test_in_time_no_other_cut_ends_sooner(pieces, seconds, per_unit):
    sizes = [4 * 2**14 * size for size, _ in pieces]
    arrivals = list(itertools.accumulate(float(gap) for _, gap in pieces))
    cost = Cost(float(seconds), per_unit / (4 * 2**14))
    assert min(sizes) >= layout._SMALLEST_PIECE
    found = cut_in_time(parameters(*(size // 4 for size in sizes)), arrivals, cost)
    assert [place for bucket in found for place in bucket] == list(range(len(sizes)))
    ends = []
    for cuts in itertools.product([False, True], repeat=len(sizes) - 1):
        bounds = [0, *(place for place, here in enumerate(cuts, 1) if here), len(sizes)]
        ends.append(layout._end(sizes, arrivals, cost, [range(a, b) for a, b in itertools.pairwise(bounds)]))
    assert layout._end(sizes, arrivals, cost, found) == pytest.approx(min(ends))


def test_the_measured_cut_is_taken_where_it_ends_clearly_sooner():
    several, arrivals = parameters(*[2**20] * 8), [float(place) for place in range(8)]
    cut = [[0], [1], [2], [3], [4], [5], [6], [7]]
    assert cut_by_size(several, layout.DEFAULT_BYTES) == cut
    assert cut_as_measured(several, arrivals, Cost(0.01, 0.0), None) == cut
    slow = Cost(5.0, 0.0)
    assert cut_as_measured(several, arrivals, slow, None) == cut_in_time(several, arrivals, slow) != cut
    assert cut_as_measured(several, arrivals, None, None) == cut
    assert cut_as_measured(several, arrivals, slow, 2**23) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_the_size_can_be_fixed(monkeypatch):
    monkeypatch.delenv("HORA_BUCKET_MB", raising=False)
    assert fixed_bytes() is None
    monkeypatch.setenv("HORA_BUCKET_MB", "0.5")
    assert fixed_bytes() == 2**19
    for wrong in ("", "large", "-1"):
        monkeypatch.setenv("HORA_BUCKET_MB", wrong)
        with pytest.raises(HoraError, match="HORA_BUCKET_MB"):
            fixed_bytes()
