"""A script with several states: each goes on from its own newest commit, after a worker was killed between two."""

from __future__ import annotations

import collections
import itertools

import pytest
from restarting import told

import hora.torch as hvd
from hora.errors import HoraError
from hora.torch.elastic import commits

# The discriminator is committed at every second step; a worker dies when the two are apart. Weights are the steps.
TOGETHER = """
def state(name):
    network = torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(network.weight)
    return hvd.elastic.TorchState(network, name=name, step=0)


def advance(state):
    with torch.no_grad():
        state.model.weight += 1
    state.step += 1


generator, discriminator = state("generator"), state("discriminator")


@hvd.elastic.run
def train(generator, discriminator):
    discriminator.sync()
    for each in (generator, discriminator):
        tell(each.name, each.step, float(each.model.weight))
    while generator.step < 8:
        advance(generator)
        generator.commit()
        if generator.step == 5:
            die_once()
        while discriminator.step < generator.step:
            advance(discriminator)
        if generator.step % 2 == 0:
            discriminator.commit()


train(generator, discriminator)
for each in (generator, discriminator):
    tell(each.name, each.step, float(each.model.weight))
"""


def test_each_state_goes_on_from_its_own_newest_commit(tmp_path):
    lines, out = told(tmp_path, TOGETHER)
    found = collections.defaultdict(list)
    for generation, rank, name, *values in lines:
        found[generation, rank].append((name, *values))
    fresh = [("generator", 0, 0.0), ("discriminator", 0, 0.0)]
    resumed = [("generator", 5, 5.0), ("discriminator", 4, 4.0)]
    ended = [("generator", 8, 8.0), ("discriminator", 8, 8.0)]
    assert dict(found) == {
        **{(0, rank): fresh for rank in range(2)},
        **{(1, rank): [*resumed, *ended] for rank in range(2)},
    }, out


AFTER_EACH_OTHER = """
@hvd.elastic.run
def train(state, name):
    while state.step < 3:
        tell(name, state.step)
        hvd.barrier()
        if name == "fine-tuning" and state.step == 1:
            die_once()
        state.step += 1
        state.commit()


for name in ("pre-training", "fine-tuning"):
    train(hvd.elastic.ObjectState(step=0), name)
"""


def test_functions_that_run_after_each_other_are_not_begun_anew(tmp_path):
    lines, out = told(tmp_path, AFTER_EACH_OTHER)
    steps = collections.Counter((generation, name, step) for generation, _, name, step in lines)
    before = [(0, "pre-training", 0), (0, "pre-training", 1), (0, "pre-training", 2)]
    tuned = [(0, "fine-tuning", 0), (0, "fine-tuning", 1), (1, "fine-tuning", 1), (1, "fine-tuning", 2)]
    assert steps == dict.fromkeys([*before, *tuned], 2), out


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Return what makes the process look like a worker of the next generation of an elastic job."""
    monkeypatch.setenv("HORA_ELASTIC", "1")
    monkeypatch.setenv("HORA_COMMIT_DIR", str(tmp_path / "commits"))
    monkeypatch.setattr(commits, "_opened", [])
    generations = itertools.count()

    def start():
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(next(generations)))
        monkeypatch.setattr(commits, "_states", itertools.count())

    hvd.init()
    start()
    yield start
    hvd.shutdown()


def test_a_state_that_was_not_synchronised_is_not_committed(start):
    state = hvd.elastic.ObjectState(step=0)
    with pytest.raises(HoraError, match=r"write over what it has committed.*Call state\.sync\(\)"):
        state.commit()
    state.sync()
    state.commit()


def test_a_commit_of_another_state_is_refused(start):
    state = hvd.elastic.ObjectState(left=0)
    state.sync()
    state.commit()
    start()
    with pytest.raises(HoraError, match="its commit holds left; this state has right"):
        hvd.elastic.ObjectState(right=0).sync()
