"""Scripts of Accelerate: a right one has no finding, and each thing that is easily forgotten has one, at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hora.convert import check

RIGHT = """import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from data import tests, trains


def main():
    accelerator = Accelerator(gradient_accumulation_steps=2, mixed_precision="fp16")
    model = nn.Linear(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1 * accelerator.num_processes)
    loader = DataLoader(trains, batch_size=32, shuffle=True)
    test_loader = DataLoader(tests, batch_size=32)
    model, optimizer, loader, test_loader = accelerator.prepare(model, optimizer, loader, test_loader)
    for epoch in range(3):
        for x, y in loader:
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(x), y)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
        right = 0
        for x, y in test_loader:
            guess, y = accelerator.gather_for_metrics((model(x).argmax(1), y))
            right += (guess == y).sum()
        accelerator.print(epoch, right)
    accelerator.wait_for_everyone()
    network = accelerator.unwrap_model(model)
    if accelerator.is_main_process:
        torch.save(network.state_dict(), "model.pt")
    network.save_pretrained("out", is_main_process=accelerator.is_main_process)


main()
"""

WRONG = {
    "network left out": (
        "model, optimizer, loader, test_loader = accelerator.prepare(model, optimizer",
        "optimizer, loader, test_loader = accelerator.prepare(optimizer",
        "HR301 torch.optim.SGD(",
    ),
    "optimizer left out": (
        "model, optimizer, loader, test_loader = accelerator.prepare(model, optimizer",
        "model, loader, test_loader = accelerator.prepare(model",
        "HR301 torch.optim.SGD(",
    ),
    "training loader left out": (
        "optimizer, loader, test_loader = accelerator.prepare(model, optimizer, loader",
        "optimizer, test_loader = accelerator.prepare(model, optimizer",
        "HR201 DataLoader(trains",
    ),
    "backward within a window": (
        "accelerator.backward(loss)",
        "loss.backward()",
        "HR307 loss.backward()\nHR308 loss.backward()",
    ),
    "gathered with its padding": ("gather_for_metrics", "gather", "HR203 accelerator.gather("),
    "saved by all": ("    if accelerator.is_main_process:\n", "    if True:\n", "HR603 torch.save("),
    "saved in its wrapper": ("torch.save(network", "torch.save(model", "HR603 model.state_dict()"),
    "pretrained by all": (", is_main_process=accelerator.is_main_process", "", "HR603 network.save_pretrained("),
    "printed by all": ("                optimizer.step()\n", "                print(loss)\n", "HR602 print(loss)"),
    "a collective on one worker": (
        "    if accelerator.is_main_process:\n",
        "    if accelerator.is_main_process:\n        accelerator.wait_for_everyone()\n",
        "HR606 accelerator.wait_for_everyone()",
    ),
}


def found(path: Path, text: str) -> list[str]:
    """Give the findings with the text that they are at."""
    path.write_text(text)
    lines = text.splitlines()
    return [f"{one.code} {lines[one.line - 1][one.column - 1 :]}" for one in check(path)]


def test_a_right_script_has_no_finding(tmp_path: Path) -> None:
    assert found(tmp_path / "train.py", RIGHT) == []


@pytest.mark.parametrize("case", WRONG)
def test_what_is_forgotten_is_found(tmp_path: Path, case: str) -> None:
    old, new, expected = WRONG[case]
    assert RIGHT.count(old) == 1
    findings = found(tmp_path / "train.py", RIGHT.replace(old, new))
    wanted = expected.splitlines()
    assert len(findings) == len(wanted)
    for finding, start in zip(findings, wanted, strict=True):
        assert finding.startswith(start)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("accelerator.prepare(model, optimizer, loader, test_loader)", "accelerator.prepare(*objects)"),
        ("accelerator.prepare(model, ", "accelerator.prepare(Wrapper(model), "),
        ("accelerator.backward(loss)", "(lambda: accelerator.backward(loss))()"),
    ],
)
def test_nothing_is_said_where_the_text_leaves_it_open(tmp_path: Path, old: str, new: str) -> None:
    assert RIGHT.count(old) == 1
    assert found(tmp_path / "train.py", RIGHT.replace(old, new)) == []


@pytest.mark.parametrize(
    ("number", "windowed"),
    [("step % 4 == 0", True), ("(step + 1) % 4 == 0", False), ("step % 8 == 0", False)],
)
def test_a_window_that_begins_with_a_step_is_found(tmp_path: Path, number: str, windowed: bool) -> None:
    text = RIGHT.replace("gradient_accumulation_steps=2, ", "").replace(
        "for x, y in loader:", "for step, (x, y) in enumerate(loader):"
    )
    text = text.replace(
        "accelerator.backward(loss)\n                optimizer.step()",
        f"accelerator.backward(loss / 4)\n                if {number}:\n                    optimizer.step()",
    )
    assert found(tmp_path / "train.py", text) == ([f"HR307 {number}:"] if windowed else [])
