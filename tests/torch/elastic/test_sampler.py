"""ElasticSampler deals what is left; samples that are recorded one by one are known to all after a commit."""

from __future__ import annotations

import collections

import pytest
import torch
from restarting import told

import hora.torch as hvd
from hora.errors import HoraError


@pytest.fixture
def sampler():
    hvd.init()
    yield hvd.elastic.ElasticSampler(range(10), seed=3)
    hvd.shutdown()


def test_what_is_recorded_is_not_dealt_again(sampler):
    order = list(sampler)
    sampler.record_indices(torch.tensor([order[7], order[2]]))
    sampler.record_indices([order[7]])
    assert sampler.processed_indices == {order[2], order[7]}
    assert list(sampler) == order  # the epoch goes on as it began
    sampler.reset()
    assert list(sampler) == [index for place, index in enumerate(order) if place not in (2, 7)]
    sampler.set_epoch(1)
    assert len(sampler) == 10


def test_a_rollback_forgets_what_was_recorded_since(sampler):
    state = hvd.elastic.TorchState(sampler=sampler)
    sampler.record_indices([1, 2])
    state.commit()
    sampler.record_indices([3])
    state.restore()
    assert sampler.processed_indices == {1, 2}


def test_what_is_no_sample_is_refused(sampler):
    with pytest.raises(HoraError, match=r"index 10; the data set has 10 samples"):
        sampler.record_indices([4, 10])
    assert not sampler.processed_indices


def test_an_epoch_is_recorded_in_one_way(sampler):
    sampler.record_indices([1])
    with pytest.raises(HoraError, match="this epoch is recorded by record_indices"):
        sampler.record_batch(0, 2)
    sampler.set_epoch(1)
    sampler.record_batch(0, 2)
    with pytest.raises(HoraError, match="this epoch is recorded by record_batch"):
        sampler.record_indices([1])


def uneven():
    """Worker r records r + 1 samples of its own; return what each knows after a commit and after a new sync."""
    sampler = hvd.elastic.ElasticSampler(range(12), shuffle=False)
    state = hvd.elastic.TorchState(sampler=sampler)
    sampler.record_indices(list(sampler)[: hvd.rank() + 1])
    state.commit()
    committed = sampler.processed_indices
    sampler.record_indices(list(sampler)[3:4])
    state.sync()
    return committed, sampler.processed_indices, sorted(sampler.remaining_indices)


def test_a_commit_tells_all_workers_what_each_has_recorded(pool):
    committed = {0, 1, 4, 2, 5, 8}
    synced = committed | {9, 10, 11}
    assert pool.run(uneven, size=3) == [(committed, synced, [3, 6, 7])] * 3


# Worker 1 goes through its share from the end, so that no number of batches says what was trained on.
SCRIPT = """
sampler = hvd.elastic.ElasticSampler(range(96), seed=5)
state = hvd.elastic.TorchState(sampler=sampler, step=0, epoch=0)


@hvd.elastic.run
def train(state):
    while state.epoch < 2:
        own = list(sampler)[:: -1 if rank else 1]
        for place in range(0, len(own), 4):
            batch = own[place : place + 4]
            tell(state.epoch, state.step, batch)
            hvd.barrier()
            if state.step == 5:
                die_once()
            sampler.record_indices(batch)
            state.step += 1
            state.commit()
        state.epoch += 1
        sampler.set_epoch(state.epoch)
    state.commit()


train(state)
"""


def test_the_history_is_exact_after_a_restart(tmp_path):
    lines, out = told(tmp_path, SCRIPT)
    assert {generation for generation, *_ in lines} == {0, 1}, out
    last = {step: generation for generation, _, _, step, _ in sorted(lines)}
    assert last == {step: int(step >= 5) for step in range(24)}
    epochs = collections.defaultdict(collections.Counter)
    for generation, _, epoch, step, batch in lines:
        if generation == last[step]:
            epochs[epoch].update(batch)
    assert dict(epochs) == {epoch: collections.Counter(range(96)) for epoch in range(2)}
