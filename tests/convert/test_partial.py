"""Conversions that are not whole: the rest is converted, and each place that is refused is marked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hora.convert import convert
from hora.errors import HoraError

SCRIPT = """import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.randn(64, 3), torch.randn(64, 1))
loader = DataLoader(data, batch_size=16, shuffle=True)
net = nn.Linear(3, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for x, y in loader:
    optimizer.zero_grad()
    loss = (net(x) - y).abs().max()
    loss.backward()
    optimizer.step()
    print(loss.item())
torch.save(net.state_dict(), "net.pt")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    return path


def test_the_rest_is_converted_and_the_place_is_marked(script: Path) -> None:
    assert convert(script).diff() == ""
    conversion = convert(script, partial=True)
    lines = [line.strip() for line in conversion.converted.splitlines()]
    assert "loader = hvd.deal(loader)" in lines
    assert "optimizer = hvd.DistributedOptimizer(optimizer)" in lines
    assert [one.code for one in conversion.refusals] == ["HR305"]
    marks = [place for place, line in enumerate(lines) if line.startswith("# TODO(hora HR305): ")]
    assert len(marks) == 1
    assert lines[marks[0] + 1].startswith("loss = ")
    assert SCRIPT.splitlines()[conversion.refusals[0].line - 1].strip().startswith("loss = ")


def test_the_command_writes_it_and_says_what_is_left(script: Path, tmp_path: Path) -> None:
    out = tmp_path / "several.py"
    command = [sys.executable, "-m", "hora", "convert", str(script), "--partial", "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "# TODO(hora HR305): " in out.read_text()
    assert "left to you" in done.stderr
    assert f"{script}:11:" in done.stderr
    assert "hora verify" not in done.stderr


def test_what_is_no_script_to_convert_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "several.py"
    path.write_text("import torch.distributed as dist\ndist.init_process_group()\n" + SCRIPT)
    conversion = convert(path, partial=True)
    assert conversion.refusals
    assert conversion.diff() == ""


def test_it_is_said_in_no_other_words(script: Path) -> None:
    with pytest.raises(HoraError, match="--partial --to ddp"):
        convert(script, partial=True, to="ddp")
