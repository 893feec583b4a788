"""What a branch takes for granted of a setting holds in what it calls, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from hora.convert import convert

NETWORK = """
import argparse

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--deep", action="store_true")
parser.add_argument("--loss", default="mse", choices=["mse", "mae"])
args = parser.parse_args()


class Net(nn.Module):
    def __init__(self, deep):
        super().__init__()
        self.deep = deep
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        if self.deep:
            return [self.last(x), self.last(hidden)]
        return self.last(hidden)


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.rand(64, 4), torch.rand(64, 1)), batch_size=8, shuffle=True)
model = Net(args.deep)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in loader:
    outputs = model(x)
    {loss}
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
DEEP = """if {test}:
        outputs = model(x)
        loss = 0
        for output in outputs:
            loss += F.mse_loss(output, y)
    else:
        loss = F.mse_loss(model(x), y)"""
CHOSEN = """output = model.last(x)
    if args.loss == "mse":
        loss = F.mse_loss(output, y)
    elif args.loss == "mae":
        loss = F.l1_loss(output, y)"""


def refusals(tmp_path: Path, loss: str, *changes: tuple[str, str]) -> list[str]:
    script = tmp_path / "train.py"
    text = NETWORK.replace("{loss}", loss)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    script.write_text(text, encoding="utf-8")
    return [f"{one.code} {one.message}" for one in convert(script).refusals]


def test_a_network_gives_a_list_where_the_same_setting_asks_for_it(tmp_path: Path) -> None:
    loss = DEEP.replace("{test}", "args.deep")
    assert refusals(tmp_path, loss, ("    outputs = model(x)\n    if", "    if")) == []


def test_a_setting_that_is_negated_takes_the_other_way(tmp_path: Path) -> None:
    loss = (
        "if not args.deep:\n        loss = F.mse_loss(model(x), y)\n"
        "    else:\n        loss = sum(F.mse_loss(one, y) for one in model(x))"
    )
    assert refusals(tmp_path, loss, ("    outputs = model(x)\n", "")) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("if args.deep:", "if len(loader) > 3:"),
        ("model = Net(args.deep)", "model = Net(args.deep if len(loader) > 3 else False)"),
        ("model = Net(args.deep)", "args.deep = len(loader) > 3\nmodel = Net(args.deep)"),
    ],
)
def test_what_is_not_the_same_setting_is_not_taken_for_it(tmp_path: Path, old: str, new: str) -> None:
    """A tensor may come where the loop takes the entries of a list one by one."""
    (found,) = refusals(
        tmp_path, DEEP.replace("{test}", "args.deep"), ("    outputs = model(x)\n    if", "    if"), (old, new)
    )
    assert found == "HR305 the samples of the batch are gone through one by one"


def test_the_choices_of_an_option_leave_no_other_way(tmp_path: Path) -> None:
    assert refusals(tmp_path, CHOSEN) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (', choices=["mse", "mae"]', ""),
        ('default="mse", ', ""),
        ('choices=["mse", "mae"]', 'choices=["mse", "mae", "none"]'),
        ("args = parser", 'parser.add_argument("--loss", choices=["other"])\nargs = parser'),
    ],
)
def test_other_values_leave_the_loss_of_the_batch_before(tmp_path: Path, old: str, new: str) -> None:
    before = ("for x, y in loader:", "loss = 0\nfor x, y in loader:")
    assert refusals(tmp_path, CHOSEN, before) == []
    assert refusals(tmp_path, CHOSEN, before, (old, new)) != []
