"""What a script leaves is held against what one worker leaves: checkpoints, logs, tables, reports."""

from __future__ import annotations

import pickle
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import nn

from hora.verify import verify
from hora.verify.contents import Text, Values, read

SCRIPTS = Path(__file__).parent / "scripts"
SAVING, CONVERTED = SCRIPTS / "saving.py", SCRIPTS / "saving_converted.py"


def verified(tmp_path, monkeypatch, *replacements: tuple[str, str]):
    monkeypatch.chdir(tmp_path)
    text = CONVERTED.read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    script = tmp_path / "edited.py"
    script.write_text(text)
    result = verify(SAVING, script, workers=2, steps=8)
    assert [path.name for path in tmp_path.iterdir()] == ["edited.py"]
    return result


def test_files_that_hold_the_same(tmp_path, monkeypatch):
    result = verified(tmp_path, monkeypatch)
    assert result.verdict == "equivalent", result.why
    assert [remark for remark in result.remarks if "not compared" in remark] == [
        "of picture.raw it was not compared what they hold"
    ]


@pytest.mark.parametrize(
    ("old", "new", "why", "cause"),
    [
        (
            '"optimizer": optimizer.state_dict(),',
            '"optimizer": {},',
            "last.pt, which worker 0 writes, has no optimizer.state.0.step, which one worker's has",
            None,
        ),
        (
            '"model": model.state_dict(),',
            '"model": {f"module.{k}": v for k, v in model.state_dict().items()},',
            "last.pt, which worker 0 writes, has model.module.0.weight in place of model.0.weight",
            None,
        ),
        (
            '"best": best,',
            '"best": total / len(loader.dataset),',
            "last.pt, which worker 0 writes, has best 0.",
            "HR601",
        ),
        pytest.param(
            "torch.save(model, ",
            "torch.save(nn.Sequential(model), ",
            "whole.pt, which worker 0 writes, has _modules.0._modules.0._parameters.weight in place of",
            None,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            '"model": model.state_dict(),',
            '"model": {k: v * 1.001 for k, v in model.state_dict().items()},',
            "last.pt, which worker 0 writes, has another model.0.weight than one worker's: it differs by 1.0e-03",
            None,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "loss {mean:.6f}", "loss {total:.6f}", "train.log, which worker 0", "HR601", marks=pytest.mark.slow
        ),
        pytest.param(
            '{epoch},{mean}\\n" for', '{epoch},{2 * mean}\\n" for', "history.csv, ", "HR601", marks=pytest.mark.slow
        ),
        pytest.param(
            'json.dump({"best": best,', 'json.dump({"best": total,', "report.json", "HR601", marks=pytest.mark.slow
        ),
    ],
)
def test_what_a_file_lacks_or_holds_else_is_named(tmp_path, monkeypatch, old, new, why, cause):
    result = verified(tmp_path, monkeypatch, (old, new))
    assert (result.verdict, result.cause) == ("not-equivalent", cause), result.why
    assert result.first_difference.quantity == "contents"
    assert result.why.startswith(why)
    assert ("model.module.state_dict()" in result.next) == (cause is None)


class Kept:
    """Of a class that reading a checkpoint must not run."""

    def __init__(self) -> None:
        self.weight = torch.ones(3)
        self.size = 3

    def __setstate__(self, state: dict) -> None:
        raise AssertionError("a class of the script was run")


class Acts:
    """Unpickles to a call."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("touched"),)


def test_reading_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"kept": Kept(), "acts": Acts(), "options": Namespace(lr=0.1), "net": nn.Linear(2, 1)}, "a.pt")
    Path("a.pkl").write_bytes(pickle.dumps([Acts(), {"loss": 0.5, "kept": Kept()}]))
    found = read(Path("a.pt"))
    assert isinstance(found, Values)
    assert set(found.entries) == {"kept.weight", "net._parameters.weight", "net._parameters.bias"}
    assert found.entries["kept.weight"].tolist() == [1, 1, 1]
    again = read(Path("a.pkl"))
    assert isinstance(again, Values)
    assert {"1.loss", "1.kept.weight"} <= set(again.entries)
    assert not Path("touched").exists()


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("log.txt", b"one\ntwo\n", ("one", "two")),
        ("log", b"\xe9", None),
        ("a.csv", b"a\x00b", None),
        ("a.png", b"text", None),
        ("a.json", b"{", None),
        ("a.pt", b"no checkpoint", None),
    ],
)
def test_what_is_not_known_is_not_compared(tmp_path, name, content, lines):
    (tmp_path / name).write_bytes(content)
    assert read(tmp_path / name) == (None if lines is None else Text(lines))
