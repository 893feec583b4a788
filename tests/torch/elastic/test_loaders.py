"""A commit holds how far the loaders of its state have come, or says that it does not."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import hora.torch as hvd
from hora.errors import HoraError


@pytest.fixture(autouse=True)
def world():
    hvd.init()
    yield
    hvd.shutdown()


def loader():
    return hvd.deal(DataLoader(TensorDataset(torch.arange(12)), batch_size=4, shuffle=True))


def test_a_rolled_back_epoch_goes_on_after_the_commit():
    batches = loader()
    state = hvd.elastic.TorchState(epoch=0)
    seen = []
    for number, (batch,) in enumerate(batches):
        seen.append(batch.tolist())
        if number == 0:
            state.commit()
        if number == 1:
            break
    state.restore()
    rest = [batch.tolist() for (batch,) in batches]
    assert rest[0] == seen[1]
    assert sorted(sum(rest, seen[0])) == list(range(12))


def test_a_commit_within_the_epoch_of_an_unknown_loader_is_refused():
    state = hvd.elastic.TorchState(epoch=0)
    batches = loader()
    for _ in batches:
        with pytest.raises(HoraError, match=r"Call hvd\.deal\(\) before hvd\.elastic\.TorchState"):
            state.commit()
    state.commit()  # between two epochs nothing is lost
