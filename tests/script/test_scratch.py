"""An observed script reads its own files and never changes one, whichever way it writes."""

import ctypes
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch

from hora.errors import HoraError
from hora.script.mirror import Mirror
from hora.script.scratch import Scratch


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's directory, and a scratch one of links to it, in which the test runs guarded."""
    home = tmp_path / "home"
    (home / "data" / "raw").mkdir(parents=True)
    (home / "notes.txt").write_text("mine")
    (home / "model.pt").write_bytes(b"weights")
    (home / "data" / "raw" / "a.txt").write_text("a")
    (home / "data" / "raw" / "b.txt").write_text("b")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "set.csv").write_text("1,2")
    before = content(home)
    mirror = Mirror(tmp_path / "mirror")
    monkeypatch.chdir(mirror.directory(home))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    with Scratch(mirror.root, free=()).guarding():
        yield home
    assert os.listdir(tmp_path / "beside") == ["set.csv"]
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


def test_a_directory_beside_the_working_one(home):
    assert Path("../beside/set.csv").read_text() == "1,2"
    Path("../beside/processed.csv").write_text("3")
    assert Path("../beside/processed.csv").read_text() == "3"


def test_a_data_base(home):
    import sqlite3

    with sqlite3.connect("runs.db") as base:
        base.execute("create table t (x)")
    assert Path("runs.db").exists()


def test_the_cache_that_a_library_was_told_of(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    with Scratch(Mirror(tmp_path / "mirror").root, free=()).guarding():
        os.makedirs(tmp_path / "inductor" / "ab", exist_ok=True)


def test_sources_are_copied_and_environments_are_not(tmp_path):
    project = tmp_path / "project"
    for name in ("train.py", "models/net.py", "models/parts/head.py", "env/pyvenv.cfg", "env/x.py", "data/a.bin"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    here = Mirror(tmp_path / "mirror").sources(project)
    for name in ("train.py", "models/net.py", "models/parts/head.py"):
        assert (here / name).resolve() == here / name
        assert (here / name).read_text() == name
    assert (here / "env").is_symlink()
    assert (here / "data").is_symlink()


def test_what_a_library_writes_below_python(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / "results").mkdir(parents=True)
    (home / "env").mkdir()
    (home / "env" / "pyvenv.cfg").write_text("")
    for name in ("weights.h5", "results/weights.h5"):
        (home / name).write_bytes(b"mine")
    with open(home / "data.bin", "wb") as data:
        data.truncate(17 << 20)
    before = content(home)
    here = Mirror(tmp_path / "mirror").contents(home)
    monkeypatch.chdir(here)
    libc = ctypes.CDLL(None)
    for name in ("weights.h5", "results/weights.h5", "results/new.h5"):
        fd = libc.open(name.encode(), os.O_WRONLY | os.O_CREAT, 0o644)
        assert libc.write(fd, b"theirs", 6) == 6
        libc.close(fd)
        assert (here / name).read_bytes() == b"theirs"
    assert content(home) == before
    assert (here / "data.bin").is_symlink(), "what is large is not copied"
    assert (here / "env").is_symlink()


def test_a_script_beside_the_mirrors_of_other_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "train.py").write_text("")
    (tmp_path / "system").symlink_to("/proc")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "net.py").write_text("")
    Mirror(tmp_path / "hora-other" / "mirror")
    mirror = Mirror(tmp_path / "hora-this" / "mirror")
    for here in (mirror.contents(tmp_path), mirror.sources(tmp_path)):
        assert (here / "parts" / "net.py").resolve() == here / "parts" / "net.py"
        assert all((here / name).is_symlink() for name in ("hora-other", "hora-this", "system"))
