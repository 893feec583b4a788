"""The gradient on N workers is that of one worker with the global batch, wherever a script reads it."""

from __future__ import annotations

import pytest
import torch
from cases import CASES, TOLERANCES, run


def assert_same(name, expected, found):
    """Compare what two runs recorded; differences count relative to the norm of the tensor."""
    assert len(expected) == len(found) > 0
    for place, (one, many) in enumerate(zip(expected, found, strict=True)):
        assert one.keys() == many.keys()
        for key in one:
            where = f"{name}, record {place}, {key}"
            assert (one[key] is None) == (many[key] is None), where
            if one[key] is not None:
                norm = one[key].abs().double().norm().item()
                difference = (one[key] - many[key]).abs().double().norm().item()
                assert difference <= TOLERANCES.get(name, 1e-9) * max(norm, 1e-6), where


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_one_worker(pool, name):
    [expected] = pool.run(run, name, size=1)
    for size in (2, 3, 4):
        workers = pool.run(run, name, size=size)
        for found in workers:
            assert_same(name, expected, found)
        for found in workers[1:]:
            for one, other in zip(workers[0], found, strict=True):
                assert all(one[key] is None or torch.equal(one[key], other[key]) for key in one), "workers differ"
