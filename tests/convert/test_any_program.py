"""Programs that nobody here wrote, through ``check``: a sample of torch's sources, and scripts made at random."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hora.convert.checking import check_paths
from hora.convert.settings import Settings

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
