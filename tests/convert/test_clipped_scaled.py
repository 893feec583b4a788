"""A script for many workers that clips gradients while a GradScaler's scale is in them (HR308)."""

from __future__ import annotations

from pathlib import Path

import pytest

from hora.convert.checking import check_paths
from hora.convert.settings import Settings

RIGHT = """import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group()
model = DistributedDataParallel(torch.nn.Linear(8, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler()


def step(x, y, clip):
    loss = torch.nn.functional.cross_entropy(model(x), y)
    if scaler.is_enabled():
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        scaler.step(optimizer)
        scaler.update()
    else:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    optimizer.zero_grad()
"""
UNSCALED = "        scaler.unscale_(optimizer)\n"
CLIP = "        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)\n        scaler"
GUARDED = "        if clip:\n            torch.nn.utils.clip_grad_value_(model.parameters(), clip)\n        scaler"


@pytest.mark.parametrize(
    ("edits", "lines"),
    [
        ([], []),
        ([(UNSCALED, "")], [15]),
        ([(UNSCALED, ""), (CLIP, GUARDED)], [16]),
        ([(UNSCALED, ""), (CLIP, "        scaler")], []),
    ],
    ids=["unscaled", "scaled", "guarded", "not clipped"],
)
def test_a_clip_of_scaled_gradients_is_found(tmp_path: Path, edits: list[tuple[str, str]], lines: list[int]) -> None:
    text = RIGHT
    for old, new in edits:
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = tmp_path / "train.py"
    path.write_text(text)
    findings = check_paths([path], Settings(tmp_path)).findings
    found = [one for one in findings if one.code == "HR308"]
    assert [one.line for one in found] == lines
    assert all("scaler.unscale_(optimizer) first" in one.message for one in found)
