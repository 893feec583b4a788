"""A script runs under watch as it would by itself, and nothing of the watching is left behind."""

import sys
from textwrap import dedent

import pytest
import torch
from torch.utils.data import DataLoader

from hora.script import (
    BackwardRan,
    BatchLoaded,
    Knobs,
    OptimizerStepped,
    PassPlanned,
    Printed,
    Replay,
    RunEnded,
    TraceWriter,
    observe,
    read_trace,
)

TRAINING = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
data = TensorDataset(torch.arange(20.0).reshape(10, 2), torch.arange(10.0).reshape(10, 1))
loader = DataLoader(data, batch_size=3, shuffle=True)
model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.0001)
for epoch in range(5):
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    print("epoch", epoch)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Observe a script's text; returns its events."""
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.setattr(sys, "path", ["", *sys.path])

    def run(text, *args, listener=None, **knobs):
        script = tmp_path / "script.py"
        script.write_text(dedent(text))
        events = []
        observe(script, args, events.append, Knobs(**{"steps": 100, "pass_length": 100, "seed": 0, **knobs}), listener)
        return events

    return run


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def test_every_happening_is_an_event(run):
    events = run(TRAINING)
    assert len(of(PassPlanned, events)) == 5
    assert len(of(BatchLoaded, events)) == len(of(BackwardRan, events)) == len(of(OptimizerStepped, events)) == 20
    assert [line.text for line in of(Printed, events)] == [f"epoch {n}" for n in range(5)]
    assert events[-1] == RunEnded(status=0, stopped=False, error=None)


def test_a_pass_holds_each_sample_once(run):
    events = run(TRAINING)
    for number in range(5):
        loaded = [s for b in of(BatchLoaded, events) if b.number == number for s in b.samples]
        assert sorted(loaded) == list(range(10))
    assert all(p.samples == 10 and not p.repeats for p in of(PassPlanned, events))


def test_observing_changes_no_random_number(run, tmp_path):
    observed = [b.loss for b in of(BackwardRan, run(TRAINING))]
    torch.manual_seed(0)
    losses = []
    exec(TRAINING.replace("loss.backward()", "loss.backward(); losses.append(loss.item())"), {"losses": losses})
    assert observed == losses


def test_a_pass_is_shortened_but_keeps_its_own_last_batch(run):
    events = run(TRAINING, pass_length=2, steps=4)
    assert [len(b.samples) for b in of(BatchLoaded, events)] == [3, 1, 3, 1]
    assert events[-1].stopped
    assert [line.text for line in of(Printed, events)] == ["epoch 0", "epoch 1"], "the second epoch comes to its end"


def test_an_endless_pass_does_not_end_before_the_run(run, monkeypatch):
    monkeypatch.setattr("hora.script.passes._ENDLESS", 500)
    endless = "sampler=torch.utils.data.RandomSampler(data, replacement=True, num_samples=10**10)"
    text = TRAINING.replace("shuffle=True", endless).replace(
        "for x, y in loader:", "batches = iter(loader)\n    while True:\n        x, y = next(batches)"
    )
    events = run(text, steps=8, pass_length=4)
    assert len(of(OptimizerStepped, events)) == 8
    assert events[-1].stopped
    assert events[-1].remarks == ("a pass draws more than 500 samples: taken for endless",)


def test_recorded_batches_are_replayed_and_permuted_within(run):
    recorded = {("TensorDataset[10]", 0): ((7, 8, 9), (1, 2))}
    events = run(TRAINING, replay=Replay(recorded), steps=2)
    assert [b.samples for b in of(BatchLoaded, events)] == [(7, 8, 9), (1, 2)]
    events = run(TRAINING, replay=Replay(recorded, permutation=3), steps=2)
    permuted = [b.samples for b in of(BatchLoaded, events)]
    assert [sorted(batch) for batch in permuted] == [[7, 8, 9], [1, 2]]


def test_a_loader_with_persistent_workers_is_replayed_in_every_pass(run):
    text = TRAINING.replace("shuffle=True)", "shuffle=True, num_workers=1, persistent_workers=True)")
    recorded = {("TensorDataset[10]", n): ((n, n + 1), (n + 2,)) for n in range(2)}
    events = run(text, replay=Replay(recorded), steps=4)
    assert [b.samples for b in of(BatchLoaded, events)] == [(0, 1), (2,), (1, 2), (3,)]


def test_only_the_innermost_step_of_a_subclass_counts(run):
    own = """
class Own(torch.optim.SGD):
    def step(self, closure=None):
        return super().step(closure)
optimizer = Own("""
    assert len(of(OptimizerStepped, run(TRAINING.replace("\noptimizer = torch.optim.SGD(", own)))) == 20


def test_a_script_without_loader_ends_after_its_steps(run):
    events = run(
        """
        import torch
        weight = torch.nn.Parameter(torch.ones(2))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        while True:
            weight.sum().backward()
            optimizer.step()
        """,
        steps=7,
    )
    assert len(of(OptimizerStepped, events)) == 7
    assert events[-1].stopped


@pytest.mark.parametrize(
    ("text", "status", "error"),
    [
        ("import sys; sys.exit(3)", 3, None),
        ("import sys; sys.exit('no')", 1, None),
        ("raise SystemExit", 0, None),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
    ],
)
def test_how_a_script_ends(run, text, status, error):
    ended = run(text)[-1]
    assert ended.status == status
    assert (ended.error is None) == (error is None)
    if error is not None:
        assert ended.error.strip().endswith(error)
        assert "hora/script" not in ended.error, "a traceback starts in the user's script"


def test_the_script_sees_its_name_arguments_and_directory(run):
    (printed,) = of(
        Printed,
        run("import os, sys; print(__name__, sys.argv[1:], os.path.dirname(__file__) == sys.path[0])", "a", "--b"),
    )
    assert printed.text == "__main__ ['a', '--b'] True"


def test_nothing_of_the_watching_is_left(run):
    before = DataLoader.__iter__, DataLoader.__len__, torch.autograd.backward, sys.stdout, torch.nn.functional.dropout
    run(TRAINING, neutralise=True, float64=True, steps=3)
    after = DataLoader.__iter__, DataLoader.__len__, torch.autograd.backward, sys.stdout, torch.nn.functional.dropout
    assert before == after
    assert torch.get_default_dtype() is torch.float32


def test_dropout_is_neutralised_and_said_so(run):
    text = TRAINING.replace("nn.ReLU(inplace=True)", "nn.Dropout(0.5)")
    events = run(text, neutralise=True)
    assert events[-1].neutralised == ("dropout",)
    assert [b.loss for b in of(BackwardRan, events)] == [b.loss for b in of(BackwardRan, run(text, neutralise=True))]


def test_augmentation_is_drawn_per_sample_and_said_so(run):
    text = TRAINING.replace(
        "data = TensorDataset(",
        """
class Noisy(TensorDataset):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + torch.randn(2), y
data = Noisy(""",
    )
    recorded = {("Noisy[10]", 0): ((1, 2, 3), (4,))}
    losses = []
    for permutation in (None, 5):
        events = run(text, neutralise=True, float64=True, steps=2, replay=Replay(recorded, permutation))
        assert events[-1].neutralised == ("random numbers of the data, drawn per sample",)
        losses.append([b.loss for b in of(BackwardRan, events)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_float64_reaches_parameters_and_data(run):
    class Dtypes:
        def before_step(self, step, optimizer, stepping):
            assert {p.tensor.grad.dtype for p in stepping.parameters} == {torch.float64}
            assert [p.name for p in stepping.parameters] == ["0.weight", "0.bias", "2.weight", "2.bias"]

        def after_step(self, step, optimizer, stepping):
            pass

    assert run(TRAINING, float64=True, listener=Dtypes())[-1].error is None


def test_a_trace_comes_back_as_it_was_written(run, tmp_path):
    events = run(TRAINING, digests=True, steps=3)
    trace = TraceWriter(tmp_path / "trace.jsonl")
    for event in events:
        trace.write(event)
    trace.close()
    assert list(read_trace(tmp_path / "trace.jsonl")) == events
    with open(tmp_path / "trace.jsonl", "a") as file:
        file.write('{"event": "Printed", "te')
    assert list(read_trace(tmp_path / "trace.jsonl")) == events, "a half-written last line is passed over"


def test_horovod_is_found_where_it_is_not_installed(run):
    try:
        events = run("import horovod.torch as hvd\nprint(hvd.__name__)")
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "horovod"]:
            del sys.modules[name]
    assert "hora.torch" in [line.text for line in of(Printed, events)]
    assert events[-1].error is None
