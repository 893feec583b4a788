"""Conversions in other words than Hora's: golden files, what is refused, and that nothing is left to find in them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from target_files import ROOT, TARGETS, cases, outcome, output

from hora.convert import check, convert
from hora.errors import HoraError
from hora.testing import assert_equivalent

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(("case", "target"), cases(), ids=lambda one: getattr(one, "name", one))
def test_each_case_becomes_what_is_kept(case: Path, target: str) -> None:
    assert outcome(case, target) == output(case, target).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*/*.py")), ids=lambda path: path.name)
def test_nothing_of_hora_is_left_in_an_example(script: Path, target: str) -> None:
    if script.stem.endswith(("_hora", "_elastic")):
        pytest.skip("it is converted already")
    conversion = convert(script, to=target)
    if conversion.refusals:
        assert conversion.diff() == ""
        return
    for file in conversion.files:
        ast.parse(file.converted)
        assert "hora" not in file.converted
        assert "loader.weight" not in file.converted


@pytest.mark.parametrize(("case", "target"), cases(), ids=lambda one: getattr(one, "name", one))
def test_check_finds_nothing_in_what_was_converted(case: Path, target: str) -> None:
    text = output(case, target).read_text(encoding="utf-8")
    if not text.startswith("# "):
        assert [str(one) for one in check(output(case, target)) if not one.note] == []


def test_each_edit_is_told_with_the_text_that_stands_there_in_the_end() -> None:
    conversion = convert(ROOT / "kwargs_and_clipping.in.py", to="ddp")
    lines = {line.strip() for line in conversion.converted.splitlines()}
    assert all(line in lines for edit in conversion.edits for line in edit.text.splitlines())
    assert "HR206" not in {edit.code for edit in conversion.edits}
    assert [edit.line for edit in conversion.edits if edit.code == "HR202"] == [44]


@pytest.mark.parametrize("target", TARGETS)
def test_batches_that_are_put_together_whole_are_refused(target: str) -> None:
    (refusal, *_) = convert(ROOT.parent / "fixtures" / "HR304" / "padded.in.py", to=target).refusals
    assert (refusal.code, refusal.line) == ("HR304", 29)
    assert refusal.message.startswith("the samples of the whole batch are put together, and padded, on each worker")


def test_a_target_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(HoraError, match="--to mpi: there is no such target"):
        convert(ROOT / "closure.in.py", to="mpi")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kwargs_and_clipping", "moved_later", "two_networks", "accumulated"])
def test_torchs_own_words_train_the_same(name: str) -> None:
    assert_equivalent(ROOT / f"{name}.in.py", ROOT / f"{name}.ddp.py", workers=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kwargs_and_clipping", "moved_later", "past_the_wrapper"])
def test_horovods_words_train_the_same(name: str) -> None:
    assert_equivalent(ROOT / f"{name}.in.py", ROOT / f"{name}.horovod.py", workers=2)
