"""What is too large to be followed: refused, by a count and not by a clock, and nothing changed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from hora.convert import check, convert
from hora.convert.work import Work

SCRIPT = """import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def long(x):
    return LONG


loader = DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=4)
model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for (x,) in loader:
    optimizer.zero_grad()
    model(long(x)).mean().backward()
    optimizer.step()
""".replace("LONG", "x" + " + 1" * 150)


@pytest.mark.parametrize("limit", [250, 1000])
@pytest.mark.parametrize("partly", [False, True])
def test_what_is_too_large_is_refused_at_its_largest_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, partly: bool
) -> None:
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    monkeypatch.setattr("hora.convert.converting.Work", partial(Work, limit))
    conversion = convert(path, partial=partly)
    (refusal,) = conversion.refusals
    assert (refusal.code, refusal.line) == ("HR908", 6)
    assert refusal.message.endswith("most lead through long")
    assert conversion.converted == SCRIPT


def test_a_check_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    monkeypatch.setattr("hora.convert.converting.Work", partial(Work, 250))
    assert [(one.code, one.line) for one in check(path)] == [("HR908", 6)]
