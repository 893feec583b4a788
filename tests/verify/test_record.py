"""What is recorded of a step is read back as it was, and each kind of difference is measured."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from hora.script.naming import stepping
from hora.verify import record
from hora.verify.record import RecordReader, RecordWriter
from hora.verify.reference import Comparer, Recorder, read_differences

TENSORS = {
    "plain": torch.randn(300, 7),
    "strided": torch.randn(4, 6, 5, 5).to(memory_format=torch.channels_last),
    "half": torch.randn(9).bfloat16(),
    "complex": torch.randn(3, 2, dtype=torch.complex64),
    "counts": torch.arange(5),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
    "sparse": torch.eye(6).to_sparse(),
    "none": None,
}


@pytest.mark.parametrize("pieces", [1, 512])
def test_tensors_are_read_back_as_they_were(tmp_path, monkeypatch, pieces):
    monkeypatch.setattr(record, "_PIECES", pieces)
    monkeypatch.setattr(record, "_CHUNK", 100)
    writer = RecordWriter(tmp_path)
    for step in range(3):
        writer.write("gradients", TENSORS.items())
        writer.write("after", [("step", torch.tensor(float(step)))])
        writer.end(step, optimizer=step % 2)
    reader = RecordReader(tmp_path)
    assert reader.step(3) is None
    for step in range(3):
        kept = reader.step(step)
        assert kept.optimizer == step % 2
        for name, place in kept.named("gradients").items():
            expected = TENSORS[name]
            if expected is None:
                assert place.dtype == ""
                continue
            expected = expected.to_dense() if expected.is_sparse else expected
            found = [numbers for _, numbers in reader.chunks(place)]
            row = torch.cat(found) if found else torch.zeros(0)
            assert torch.equal(row.view(expected.shape), expected), name
        assert [float(numbers) for _, numbers in reader.chunks(kept.of("after")[0])] == [step]


def test_no_record_is_no_step(tmp_path):
    assert RecordReader(tmp_path / "absent").step(0) is None


def compared(tmp_path, change):
    """Record two steps, then take them again with `change` made to the network before each."""
    found = []
    for again in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 1))
        model = model.to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        listener = Comparer(tmp_path, tmp_path / "out.jsonl") if again else Recorder(tmp_path)
        for step in range(2):
            optimizer.zero_grad()
            model(torch.randn(6, 2, 5, 5)).pow(2).mean().backward()
            if again:
                change(model)
            named = stepping(optimizer)
            listener.before_step(step, 0, named)
            optimizer.step()
            listener.after_step(step, 0, named)
        found.append({name: value.clone() for name, value in model.state_dict().items()})
    for name, value in found[0].items():
        assert torch.equal(found[1][name], value), f"{name} was not set to the reference's"
    return read_differences(tmp_path / "out.jsonl")


def test_equal_steps_do_not_differ(tmp_path):
    found = compared(tmp_path, lambda model: None)
    assert {one.quantity for one in found} == {"initial parameters", "gradient", "update", "optimizer state", "buffer"}
    assert all(one.difference == 0 for one in found)


def test_gradients_that_are_multiples_are_told(tmp_path):
    found = compared(tmp_path, lambda model: model[0].weight.grad.mul_(3))
    wrong = [one for one in found if one.quantity == "gradient" and one.difference > 0]
    assert [(one.step, one.tensor) for one in wrong] == [(0, "0.weight"), (1, "0.weight")]
    assert all(one.ratio == pytest.approx(3) for one in wrong)
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["scale"] > 0
