"""An observed script reads its own files and never changes one, whichever way it writes."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from hora.errors import HoraError
from hora.script.scratch import Scratch, link_tree


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's directory, and a scratch one of links to it, in which the test runs guarded."""
    home = tmp_path / "home"
    (home / "data" / "raw").mkdir(parents=True)
    (home / "notes.txt").write_text("mine")
    (home / "model.pt").write_bytes(b"weights")
    (home / "data" / "raw" / "a.txt").write_text("a")
    (home / "data" / "raw" / "b.txt").write_text("b")
    before = content(home)
    scratch = tmp_path / "scratch"
    link_tree(home, scratch)
    monkeypatch.chdir(scratch)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    with Scratch((scratch,), free=()).guarding():
        yield home
    assert content(home) == before


def content(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_reads_what_the_script_would_read(home):
    assert Path("notes.txt").read_text() == "mine"
    assert Path("data/raw/a.txt").read_text() == "a"


def test_truncating_a_file(home):
    Path("notes.txt").write_text("theirs")
    assert Path("notes.txt").read_text() == "theirs"


def test_appending_keeps_what_was_there(home):
    with open("notes.txt", "a") as file:
        file.write(" and theirs")
    assert Path("notes.txt").read_text() == "mine and theirs"


def test_a_file_in_a_linked_directory(home):
    Path("data/raw/a.txt").write_text("changed")
    Path("data/raw/new.txt").write_text("new")
    assert sorted(os.listdir("data/raw")) == ["a.txt", "b.txt", "new.txt"]
    assert Path("data/raw/b.txt").is_symlink()


def test_torch_save_which_opens_its_file_below_python(home):
    torch.save({"w": torch.ones(3)}, "model.pt")
    assert torch.load("model.pt", weights_only=True)["w"].sum() == 3


def test_remove_rename_and_replace(home):
    os.remove("notes.txt")
    os.rename("model.pt", "old.pt")
    Path("model.tmp").write_bytes(b"new")
    os.replace("model.tmp", "old.pt")
    assert not Path("notes.txt").exists()
    assert Path("old.pt").read_bytes() == b"new"


def test_rmtree_and_makedirs(home):
    shutil.rmtree("data")
    os.makedirs("data/raw/deep")
    Path("data/raw/deep/x.json").write_text(json.dumps([1]))
    assert os.listdir("data/raw") == ["deep"]


def test_low_level_open(home):
    descriptor = os.open("notes.txt", os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, b"x")
    os.close(descriptor)
    assert Path("notes.txt").read_text() == "x"


def test_an_absolute_path_elsewhere_is_refused_by_name(home):
    with pytest.raises(HoraError, match=r"writes to .*home/notes\.txt, outside its working directory"):
        (home / "notes.txt").write_text("theirs")
    with pytest.raises(HoraError, match=r"model\.pt"):
        torch.save({}, home / "model.pt")


def test_temporary_files_are_free(home):
    import tempfile

    with tempfile.NamedTemporaryFile("w") as file:
        file.write("x")
