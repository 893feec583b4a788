"""The examples: each twin is what `hora convert` writes, is proven to train the same, and runs on two workers."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from hora.convert import convert
from hora.verify.verify import verify_each

EXAMPLES = Path(__file__).parents[2] / "examples"
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Example:
    """A script without its `.py`, arguments for a short run, and how many lines it then prints at least."""

    script: str
    arguments: tuple[str, ...]
    lines: int
    normalises: bool

    @property
    def original(self) -> Path:
        return EXAMPLES / f"{self.script}.py"

    @property
    def twin(self) -> Path:
        return EXAMPLES / f"{self.script}_hora.py"


SHORT = ("--depth", "10", "--width", "1", "--epochs", "2", "--images", "1000", "--batch-size", "32")
FASHION = Example("vision/fashion_mnist", SHORT, 2, normalises=True)
CHAR_LM = Example("text/char_lm", ("--quick",), 4, normalises=False)
DCGAN = Example("gan/dcgan", ("--quick",), 17, normalises=True)
MASKED_LM = Example("text/masked_lm", ("--quick",), 2, normalises=False)
TONES = Example("audio/tones", ("--epochs", "2", "--tones", "100"), 3, normalises=False)
CLIPS = Example("video/clips", ("--epochs", "2", "--clips", "100"), 3, normalises=True)
HIGH_RESOLUTION = Example(
    "vision/high_resolution", ("--epochs", "2", "--images", "24", "--side", "64"), 2, normalises=True
)
CONTRASTIVE = Example("vision/contrastive", ("--epochs", "2"), 2, normalises=False)
POLICY_GRADIENT = Example("rl/policy_gradient", ("--quick",), 2, normalises=False)
CONVERTED = [FASHION, CHAR_LM, DCGAN, MASKED_LM, TONES, CLIPS]
BY_HAND = [HIGH_RESOLUTION, CONTRASTIVE]
EACH = pytest.mark.parametrize("example", CONVERTED, ids=lambda example: example.script)
PROVEN = pytest.mark.parametrize("example", [*CONVERTED, *BY_HAND], ids=lambda example: example.script)
ALL = pytest.mark.parametrize("example", [*CONVERTED, *BY_HAND, POLICY_GRADIENT], ids=lambda example: example.script)


@EACH
def test_a_twin_is_what_convert_writes(example: Example) -> None:
    conversion = convert(example.original)
    assert not conversion.refusals
    assert conversion.encoded() == example.twin.read_bytes()
    assert convert(example.twin).diff() == ""


def test_synchronised_batch_norm_is_a_line_by_hand() -> None:
    line = "    model = hvd.SyncBatchNorm.convert_sync_batchnorm(model)\n"
    twin = HIGH_RESOLUTION.twin.read_text(encoding="utf-8")
    assert twin.count(line) == 1
    conversion = convert(HIGH_RESOLUTION.original)
    assert conversion.converted == twin.replace(line, "")
    assert [note.code for note in conversion.notes] == ["HR310"]
    again = convert(HIGH_RESOLUTION.twin)
    assert (again.diff(), again.refusals, again.notes) == ("", (), ())


@pytest.mark.parametrize(
    ("example", "code", "line"),
    [
        (CONTRASTIVE, "HR305", "    likeness = points @ points.T / temperature"),
        (POLICY_GRADIENT, "HR205", "    for update in range(1, args.updates + 1):"),
    ],
    ids=lambda value: value.script if isinstance(value, Example) else "",
)
def test_what_convert_refuses_has_a_reason(example: Example, code: str, line: str) -> None:
    [refusal] = convert(example.original).refusals
    lines = example.original.read_text(encoding="utf-8").splitlines()
    assert (refusal.code, lines[refusal.line - 1]) == (code, line)


@ALL
def test_an_original_knows_nothing_of_hora(example: Example) -> None:
    text = example.original.read_text(encoding="utf-8")
    assert "hora" not in text.lower()
    assert "distributed" not in text


@pytest.mark.slow
@PROVEN
def test_a_twin_trains_what_its_original_trains(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_data(example)
    monkeypatch.chdir(tmp_path)
    for result in verify_each(example.original, example.twin, workers=[2, 3], args=example.arguments):
        assert result.verdict == "equivalent", f"{result.workers} workers: {result.why}"
        assert ("with synchronised BatchNorm" in result.why) == example.normalises


@pytest.mark.slow
@ALL
def test_a_twin_runs_on_two_workers(example: Example, tmp_path: Path) -> None:
    need_data(example)
    done = hora_run(example, *example.arguments, cwd=tmp_path)
    assert len(done.splitlines()) >= example.lines
    assert all(line.startswith("[0] ") for line in done.splitlines())
    assert [path.name for path in tmp_path.iterdir()] == [f"{example.original.stem}.pt"]


@pytest.mark.slow
def test_two_workers_go_on_where_one_was_stopped(tmp_path: Path) -> None:
    need_data(FASHION)
    one = subprocess.Popen(
        [sys.executable, "-u", str(FASHION.original), *FASHION.arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    with one:
        assert one.stdout is not None
        assert one.stdout.readline().startswith("epoch 1:")
        one.kill()
    lines = hora_run(FASHION, *FASHION.arguments, "--resume", "fashion_mnist.pt", cwd=tmp_path).splitlines()
    assert [line[: len("[0] epoch 2:")] for line in lines] == ["[0] epoch 2:"]


def hora_run(example: Example, *arguments: str, cwd: Path) -> str:
    """Run a twin on two workers, and return what they print."""
    command = [sys.executable, "-m", "hora", "run", "-n", "2", str(example.twin), *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def need_data(example: Example) -> None:
    """Skip where an example's data would have to be downloaded."""
    if example is FASHION and not FASHION_MNIST.is_dir():
        pytest.skip(f"no {FASHION_MNIST}: install Debian's package dataset-fashion-mnist")
