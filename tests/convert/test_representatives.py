"""One network is followed for many that do the same, and no conversion is another one for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hora.convert import convert
from hora.convert.work import Work

MODELS = """
import torch
from torch import nn


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x):
        return self.layer(x)


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 32), nn.Linear(32, 1)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x):
        {odd}
"""
SCRIPT = """
import argparse

import torch
from models import Odd, Small, Wide
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--net", default="small")
args = parser.parse_args()
torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.rand(64, 4), torch.rand(64, 1)), batch_size=8, shuffle=True)
if args.net == "small":
    model = Small()
elif args.net == "wide":
    model = Wide()
else:
    model = Odd()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in loader:
    optimizer.zero_grad()
    F.mse_loss(model(x), y).backward()
    optimizer.step()
"""


def project(tmp_path: Path, odd: str) -> Path:
    (tmp_path / "models.py").write_text(MODELS.replace("{odd}", odd), encoding="utf-8")
    (tmp_path / "train.py").write_text(SCRIPT, encoding="utf-8")
    return tmp_path / "train.py"


def test_networks_that_do_the_same_are_followed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[Work] = []
    made = Work.__init__

    def remembered(self: Work, *args: object) -> None:
        made(self, *args)  # type: ignore[arg-type]
        spent.append(self)

    script = project(tmp_path, "return self.layer(torch.tanh(x))")
    with monkeypatch.context() as patched:
        patched.setattr(Work, "__init__", remembered)
        first = convert(script)
    assert spent[0].represented == {(script.parent / "models.py", "Wide"), (script.parent / "models.py", "Odd")}
    monkeypatch.setattr("hora.convert.follow.represented", lambda _: frozenset())
    again = convert(script)
    assert not first.refusals
    assert first.diff() == again.diff()


def test_one_that_couples_the_batch_is_still_found(tmp_path: Path) -> None:
    (found,) = convert(project(tmp_path, "return self.layer(x - x.std(0))")).refusals
    assert (Path(found.file).name, found.code) == ("models.py", "HR305")


@pytest.mark.parametrize(
    ("odd", "mended"),
    [
        ("return self.layer(x.to('cuda:0'))", "hvd.local_rank()"),
        ("print(1)\n        return self.layer(x)", "if hvd.rank() == 0:\n            print(1)"),
    ],
)
def test_one_that_rules_edit_is_still_edited(tmp_path: Path, odd: str, mended: str) -> None:
    conversion = convert(project(tmp_path, odd))
    assert not conversion.refusals
    (models,) = (one.converted for one in conversion.files if one.path.name == "models.py")
    assert mended in models
