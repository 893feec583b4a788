"""Programs that nobody here wrote: scripts made at random through ``check`` and ``convert``, and torch's sources."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hora.convert import convert
from hora.convert.checking import check_paths
from hora.convert.settings import Settings
from hora.errors import HoraError

SHARE = 20
HEAD = """import os, time, torch, torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, DistributedSampler
"""
LINES = [
    "dist.init_process_group('gloo')",
    "rank = dist.get_rank()",
    "model = DDP(nn.Linear(8, 3))",
    "model = model",
    "sampler = DistributedSampler(data) if rank else None",
    "loader = DataLoader(data, 10, sampler=sampler)",
    "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)",
    "loss = nn.functional.cross_entropy(model(x), y, reduction='sum')",
    "loss.backward()",
    "optimizer.step()",
    "loss, model = model, loss",
    "dist.all_reduce(loss)",
    "print(loss)",
    "torch.save(model.state_dict(), path := f'{rank}.pt')",
    "model.load_state_dict(torch.load('x.pt'))",
    "os.makedirs(time.strftime('%H'))",
    "f(loader)",
    "return",
    "continue",
]
HEADS = ["for x, y in loader:", "while True:", "if rank == 0:", "if not rank and x:", "def f(loader, rank=0):", "else:"]

TRAINING = """import torch, os
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
{seed}
data = TensorDataset(torch.ones(40, 8), torch.ones(40).long())
loader = DataLoader(data, {options})
model = nn.Sequential({layers}, nn.Linear(8, 3))
optimizer = torch.optim.{optimizer}(model.parameters(), lr=0.1)
total = 0
for epoch in range(2):
    {before}
    for step, (x, y) in enumerate({over}):
        optimizer.zero_grad()
        out = model({given})
        loss = {loss}
        {back}
        {after}
    {end}
{last}
"""
PARTS = {
    "seed": ["", "torch.manual_seed(0)", "device = torch.device('cuda:0')"],
    "options": ["batch_size=10, shuffle=True", "8", "10, drop_last=True", "**{'batch_size': 4}"],
    "layers": ["nn.ReLU()", "nn.BatchNorm1d(8)", "nn.Dropout()", "nn.Softmax(dim=0)"],
    "optimizer": ["SGD", "Adam", "LBFGS"],
    "before": ["pass", "model.train()", "total = 0", "print(f'epoch {epoch}')"],
    "over": ["loader", "list(loader)", "DataLoader(data, 5)"],
    "given": ["x", "x + torch.randn_like(x)", "x[torch.randperm(x.size(0))]", "x.view(10, -1)", "x - x.mean(0)"],
    "loss": ["F.cross_entropy(out, y)", "F.cross_entropy(out, y, reduction='sum')", "out.pow(2).mean()", "out.max()"],
    "back": ["loss.backward(); optimizer.step()", "loss.backward()", "(loss / 2).backward(); optimizer.step()"],
    "after": ["total += loss.item()", "total += (out.argmax(1) == y).sum()", "print(loss)", "if loss < 1: break", ""],
    "end": ["print(total / len(loader))", "torch.save(model.state_dict(), 'm.pt')", "os.makedirs('a')", ""],
    "last": ["", "model.eval(); print(model(x)) # the last", "torch.save(model, f'{total}.pt')"],
}
COUPLED = {"nn.Softmax(dim=0)", "out.max()"}
"""Parts in which the samples of a batch meet, in a way that no reduction mends."""


def programs() -> st.SearchStrategy[str]:
    line = st.sampled_from(LINES)
    block = st.recursive(
        line.map(lambda one: [one]),
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=5).map(lambda many: [one for part in many for one in part]),
            st.tuples(st.sampled_from(HEADS), inner).map(lambda pair: [pair[0], *(f"    {one}" for one in pair[1])]),
        ),
        max_leaves=25,
    )
    return block.map(lambda lines: HEAD + "\n".join(lines) + "\n")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=programs())
def test_a_program_of_any_shape_is_checked_or_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "train.py"
    path.write_text(text)
    report = check_paths([path], Settings(tmp_path))
    try:
        ast.parse(text)
    except SyntaxError:
        assert len(report.unchecked) == 1
        return
    assert report.unchecked == ()
    lines = text.splitlines()
    assert all(1 <= one.column <= len(lines[one.line - 1]) for one in report.findings)
    assert list(report.findings) == sorted(report.findings, key=lambda one: (one.line, one.column, one.code))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(parts=st.fixed_dictionaries({name: st.sampled_from(texts) for name, texts in PARTS.items()}))
def test_a_training_of_any_parts_is_converted_or_left_as_it_is(tmp_path: Path, parts: dict[str, str]) -> None:
    path = tmp_path / "train.py"
    text = TRAINING.format(**parts)
    path.write_text(text)
    try:
        conversion = convert(path)
    except HoraError:
        return
    ast.parse(conversion.converted)
    assert conversion.refusals or not COUPLED & set(parts.values())
    if conversion.refusals:
        assert conversion.converted == text
        return
    touched = {edit.line for file in conversion.changed for edit in file.edits}
    kept = {line.strip() for line in conversion.converted.splitlines()}
    for number, line in enumerate(text.splitlines(), 1):
        assert number in touched or line.strip() in kept
    path.write_text(conversion.converted)
    again = convert(path)
    assert (again.refusals, again.diff()) == ((), "")


@pytest.mark.slow
def test_a_sample_of_torch_is_checked_to_the_end() -> None:
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    files = sorted(root.rglob("*.py"))[3::SHARE]
    report = check_paths(files, Settings(root))
    assert report.checked > 50
    assert report.unchecked == ()
