"""Each worker's output is kept in a file; what hinders that is told once and ends nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from hora.launch import Line, RunResult, WorkerExit
from hora.launch.logs import KEPT_RUNS, Logs, log_directory


def test_each_worker_has_a_file_with_its_lines_and_its_traceback(tmp_path: Path) -> None:
    failed = WorkerExit(1, 7, 1, None, "Traceback:\nValueError: boom", None, False, False, 1.0, 2.0)
    with Logs(tmp_path / "runs" / "job", pytest.fail) as logs:
        for line in (Line(0, "stdout", "a"), Line(1, "stdout", "b"), Line(0, "stderr", "50%", True)):
            logs.line(line)
        logs.verdict(RunResult((failed,), failed, False, None, 2.0))
        assert logs.place == tmp_path / "runs" / "job"
    assert logs.directory.stat().st_mode & 0o777 == 0o700
    assert (logs.directory / "worker-0.log").read_text() == "a\n"
    assert (logs.directory / "worker-1.log").read_text() == "b\nTraceback:\nValueError: boom\n"


def test_the_newest_runs_and_those_that_go_on_are_kept(tmp_path: Path) -> None:
    with Logs(tmp_path / "20260101-000000-long", pytest.fail):
        for number in range(1, KEPT_RUNS + 3):
            (tmp_path / f"20260101-{number:06}-x").mkdir()
        with Logs(tmp_path / "20260102-000000-y", pytest.fail):
            pass
        names = sorted(path.name for path in tmp_path.iterdir())
    assert names[0] == "20260101-000000-long"
    assert names[1] == "20260101-000004-x"
    assert names[-1] == "20260102-000000-y"
    assert len(names) == KEPT_RUNS + 1


def test_a_place_that_cannot_be_written_to_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    notices: list[str] = []
    with Logs(tmp_path / "file" / "job", notices.append) as logs:
        logs.line(Line(0, "stdout", "a"))
        logs.line(Line(0, "stdout", "b"))
    assert notices == [f"the workers' logs in {logs.directory} are not written: Not a directory"]
    assert logs.place is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_told_once(tmp_path: Path) -> None:
    notices: list[str] = []
    with Logs(tmp_path / "job", notices.append) as logs:
        (logs.directory / "worker-0.log").symlink_to("/dev/full")
        for _ in range(3):
            logs.line(Line(0, "stdout", "a"))
    assert notices == [f"the workers' logs in {logs.directory} are not written: No space left on device"]


def test_the_state_directory_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert log_directory("job") == tmp_path / "hora" / "runs" / "job"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/someone")
    assert log_directory("job") == Path("/home/someone/.local/state/hora/runs/job")
