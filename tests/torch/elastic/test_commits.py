"""Commits are whole or passed over; two are kept; one place is enough, and none is an error that names both."""

from __future__ import annotations

import resource

import pytest

import hora.torch as hvd
from hora.errors import HoraError
from hora.launch.result import RESTART
from hora.torch.elastic.commits import Commits


def test_workers_and_launcher_mean_the_same_exit_status():
    assert hvd.elastic.RESTART == RESTART


def test_two_are_kept_in_each_place_and_the_newest_is_found(tmp_path):
    commits = Commits(tmp_path / "memory", tmp_path / "disk")
    for number in range(1, 5):
        commits.write((0, number), b"state %d" % number)
        commits.flush(10)
    for place in ("memory", "disk"):
        assert sorted(path.name for path in (tmp_path / place).iterdir()) == ["commit-0-0-3", "commit-0-0-4"]
    assert commits.newest() == ((0, 4), b"state 4")


def test_each_state_has_its_own(tmp_path):
    first, second = (Commits(tmp_path / "memory", tmp_path / "disk", state) for state in (1, 11))
    for number in range(1, 4):
        first.write((0, number), b"first")
    second.write((0, 1), b"second")
    (tmp_path / "memory" / "commit-1-0-4.1.tmp").write_bytes(b"in the middle of a commit")
    assert second.newest() == ((0, 1), b"second")
    assert list((tmp_path / "memory").glob("*.tmp"))
    assert first.newest() == ((0, 3), b"first")
    assert not list((tmp_path / "memory").glob("*.tmp"))


def test_a_later_generation_is_newer(tmp_path):
    commits = Commits(tmp_path / "memory", None)
    commits.write((0, 12), b"old")
    commits.write((1, 11), b"new")
    assert commits.newest() == ((1, 11), b"new")


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + b"x", lambda data: b""])
def test_a_damaged_commit_is_passed_over_by_name(tmp_path, capfd, damage):
    commits = Commits(tmp_path / "memory", None)
    commits.write((0, 1), b"first")
    commits.write((0, 2), b"second")
    path = tmp_path / "memory" / "commit-0-0-2"
    path.write_bytes(damage(path.read_bytes()))
    assert commits.newest() == ((0, 1), b"first")
    assert f"{path} is passed over" in capfd.readouterr().err


def test_another_secret_signs_otherwise(tmp_path, monkeypatch):
    commits = Commits(tmp_path / "memory", None)
    commits.write((0, 1), b"state")
    monkeypatch.setenv("HORA_SECRET", "another")
    assert commits.newest() is None


def test_a_directory_that_others_can_write_to_is_not_read(tmp_path):
    commits = Commits(tmp_path / "memory", None)
    commits.write((0, 1), b"state")
    (tmp_path / "memory").chmod(0o777)
    assert commits.newest() is None


def test_where_one_place_fails_the_other_does_and_it_is_said_once(tmp_path, capfd):
    (tmp_path / "memory").write_text("no directory")
    commits = Commits(tmp_path / "memory", tmp_path / "disk")
    commits.write((0, 1), b"first")
    commits.write((0, 2), b"second")
    assert commits.newest() == ((0, 2), b"second")
    assert capfd.readouterr().err.count("does not take a commit") == 1


def test_where_both_places_fail_the_error_names_them(tmp_path):
    for name in ("memory", "disk"):
        (tmp_path / name).write_text("no directory")
    with pytest.raises(HoraError, match=r"no place takes the commit: .*memory.*disk"):
        Commits(tmp_path / "memory", tmp_path / "disk").write((0, 1), b"state")


def test_a_disk_that_is_full_half_way_leaves_the_commit_before(tmp_path):
    commits = Commits(tmp_path / "memory", None)
    commits.write((0, 1), b"first")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(HoraError, match=r"no place takes the commit: .*memory: .*File too large"):
            commits.write((0, 2), bytes(2**20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert commits.newest() == ((0, 1), b"first")
    assert [path.name for path in (tmp_path / "memory").iterdir()] == ["commit-0-0-1"]
