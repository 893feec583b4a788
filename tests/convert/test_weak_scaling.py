"""Weak scaling: each worker keeps the script's batch, the learning rate goes with the global one, warmed up."""

from __future__ import annotations

from pathlib import Path

import pytest

from hora.convert import check, convert
from hora.errors import HoraError

SCRIPT = """import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.randn(64, 3), torch.randn(64, 1))
loader = DataLoader(data, batch_size=16, shuffle=True)
net = nn.Linear(3, 1)
optimizer = torch.optim.{optimizer}
{more}
for epoch in range(3):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()
"""


def written(tmp_path: Path, optimizer: str, more: str = "pass") -> Path:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(optimizer=optimizer, more=more))
    return script


@pytest.mark.parametrize(
    ("optimizer", "scaled"),
    [
        ("SGD(net.parameters(), lr=0.1, momentum=0.9)", "SGD(net.parameters(), lr=0.1 * hvd.size(), momentum=0.9)"),
        ("SGD(net.parameters(), 0.1 + 0.2)", "SGD(net.parameters(), (0.1 + 0.2) * hvd.size())"),
        ("Adam(net.parameters())", "Adam(net.parameters(), lr=1e-3 * hvd.size())"),
    ],
)
def test_the_rate_is_multiplied_and_warmed_up(tmp_path: Path, optimizer: str, scaled: str) -> None:
    conversion = convert(written(tmp_path, optimizer), scaling="weak")
    lines = [line.strip() for line in conversion.converted.splitlines()]
    assert 'loader = hvd.deal(loader, scaling="weak")' in lines
    assert f"optimizer = torch.optim.{scaled}" in lines
    begin = lines.index(
        "warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / hvd.size(), total_iters=5 * len(loader))"
    )
    assert lines[begin + 1] == "optimizer.register_step_post_hook(lambda *_: warmup.step())"
    assert lines[begin + 2] == "for epoch in range(3):"
    assert [edit.code for edit in conversion.edits].count("HR401") >= 2


def test_converting_it_again_changes_nothing_and_check_is_content(tmp_path: Path) -> None:
    script = written(tmp_path, "SGD(net.parameters(), lr=0.1)")
    again = tmp_path / "again.py"
    again.write_text(convert(script, scaling="weak").converted)
    assert convert(again, scaling="weak").diff() == ""
    assert convert(again).diff() == ""
    assert [one for one in check(again) if one.code == "HR401"] == []


def test_schedules_that_multiply_go_with_a_warm_up(tmp_path: Path) -> None:
    more = "scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)"
    assert not convert(written(tmp_path, "SGD(net.parameters(), lr=0.1)", more), scaling="weak").refusals


@pytest.mark.parametrize(
    ("optimizer", "more", "why"),
    [
        (
            "SGD(net.parameters(), lr=0.1)",
            "s = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 12)",
            "OneCycleLR sets",
        ),
        ("SGD(net.parameters(), lr=0.1)", "optimizer.param_groups[0]['lr'] = 0.2", "set by hand"),
        ("SGD([{'params': net.parameters(), 'lr': 0.1}])", "pass", "learning rates of their own"),
        ("SGD(net.parameters(), **{'lr': 0.1})", "pass", "in a dictionary"),
    ],
)
def test_rates_that_cannot_be_scaled_are_refused(tmp_path: Path, optimizer: str, more: str, why: str) -> None:
    conversion = convert(written(tmp_path, optimizer, more), scaling="weak")
    assert {one.code for one in conversion.refusals} == {"HR401"}
    assert why in conversion.refusals[0].message
    assert conversion.diff() == ""


@pytest.mark.parametrize(
    ("options", "named"), [({"scaling": "none"}, "--scaling none"), ({"scaling": "weak", "to": "ddp"}, "--to ddp")]
)
def test_what_is_no_scaling_is_named(tmp_path: Path, options: dict[str, str], named: str) -> None:
    with pytest.raises(HoraError, match=named):
        convert(written(tmp_path, "SGD(net.parameters(), lr=0.1)"), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("imports", "prefix", "name"),
    [("import torch as t", "t.", "t"), ("from torch import optim, randn", "", "torch")],
)
def test_the_warm_up_has_torch_under_the_name_that_the_file_has(
    tmp_path: Path, imports: str, prefix: str, name: str
) -> None:
    script = written(tmp_path, "SGD(net.parameters(), lr=0.1)")
    head, rest = script.read_text().split("from torch import nn", 1)
    head, rest = head.replace("import torch", imports), rest.replace("torch.optim", f"{prefix}optim")
    script.write_text(f"{head}from torch import nn{rest.replace('torch.randn', f'{prefix}randn')}")
    lines = convert(script, scaling="weak").converted.splitlines()
    assert any(line.startswith(f"warmup = {name}.optim.lr_scheduler.LinearLR(optimizer, ") for line in lines)
    assert ("import torch" in lines) == (name == "torch")


def test_each_of_two_optimizers_has_its_own_warm_up():
    dcgan = Path(__file__).parents[2] / "examples" / "gan" / "dcgan.py"
    converted = convert(dcgan, scaling="weak").converted
    for name in ("optimizer_g", "optimizer_d"):
        assert f"{name}.register_step_post_hook(lambda *_, warmup=warmup: warmup.step())" in converted
