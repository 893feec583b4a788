"""Scripts of several files: each file becomes what it should, all are written or none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from project_files import ROOT, contents, projects

from hora.convert import convert, write
from hora.errors import HoraError


@pytest.fixture
def trainer(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "trainer" / "before", tmp_path / "trainer")
    return tmp_path / "trainer"


@pytest.mark.parametrize("project", projects(), ids=lambda project: project.name)
def test_a_project_becomes_what_it_should(project: Path, tmp_path: Path) -> None:
    conversion = convert(project / "before" / "main.py")
    assert conversion.refusals == ()
    written = write(conversion, f"{tmp_path}/out/")
    assert contents(tmp_path / "out") == contents(project / "after")
    assert written[0] == tmp_path / "out" / "main.py"
    assert convert(written[0]).diff() == ""


def test_each_file_has_its_edits(trainer: Path) -> None:
    conversion = convert(trainer / "main.py")
    codes = {str(file.path.relative_to(trainer)): {edit.code for edit in file.edits} for file in conversion.files}
    assert codes["lib/data.py"] == codes["lib/net.py"] == set()
    assert codes["lib/log.py"] == {"HR101", "HR602"}
    assert "HR206" in codes["lib/trainer.py"]
    assert "HR206" not in codes["main.py"]


def test_one_file_is_not_enough(trainer: Path) -> None:
    with pytest.raises(
        HoraError, match=r"lib/trainer.py, .*lib/log.py must be changed, too. Give a directory: .* -o DIR/"
    ):
        write(convert(trainer / "main.py"), trainer / "out.py")
    assert not (trainer / "out.py").exists()


def test_a_project_is_converted_in_place(trainer: Path) -> None:
    untouched = (trainer / "lib" / "net.py").stat().st_mtime_ns
    write(convert(trainer / "main.py"), in_place=True)
    assert contents(trainer) == contents(ROOT / "trainer" / "after")
    assert (trainer / "lib" / "net.py").stat().st_mtime_ns == untouched


def test_nothing_is_half_written(trainer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conversion = convert(trainer / "main.py")
    before = contents(trainer)

    def full(descriptor: int, mode: str) -> None:
        os.close(descriptor)
        raise OSError(28, "No space left on device", "lib")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(HoraError, match="No space left"):
        write(conversion, in_place=True)
    assert contents(trainer) == before
    assert not list(trainer.rglob(".*"))


def test_the_originals_are_not_written_over(trainer: Path) -> None:
    with pytest.raises(HoraError, match="that is the original"):
        write(convert(trainer / "main.py"), f"{trainer}/")


def test_a_module_is_refused_with_the_script_that_starts_it(trainer: Path) -> None:
    (refusal,) = convert(trainer / "lib" / "trainer.py").refusals
    assert (refusal.code, refusal.line) == ("HR909", 35)
    assert refusal.message.endswith("convert a script that starts it, such as main.py")


def test_a_module_that_an_option_names_is_told() -> None:
    (note,) = [one for one in convert(ROOT / "named" / "before" / "main.py").notes if one.code == "HR908"]
    assert note.line == 17
    assert "read were narrow; a run that names another needs its own conversion" in note.message


def test_a_module_that_nothing_names_is_the_reason(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "named" / "before", tmp_path / "named")
    script = tmp_path / "named" / "main.py"
    script.write_text(script.read_text().replace('"--model", default="narrow"', '"model"'))
    first, *others = convert(script).refusals
    assert (first.code, first.line) == ("HR908", 17)
    assert "which module is imported here is known only when the script runs" in first.message
    assert {one.code for one in others} == {"HR908"}
