"""What `hora run` prints: lines behind their worker's number, and at a failure one box that says why."""

import io

import pytest

from hora.launch import Line, RunResult, WorkerExit
from hora.launch.report import Report
from hora.launch.supervision import first_failure

TRACEBACK = 'Traceback (most recent call last):\n  File "train.py", line 3, in <module>\nValueError: boom'


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def exit_of(rank, **fields):
    default = {"pid": 1, "status": 1, "signal": None, "traceback": None, "error": None, "lost_connection": False}
    return WorkerExit(**{"rank": rank, **default, "stopped": False, "failed_at": 1.0, "ended_at": 2.0, **fields})


def verdict(*exits, encoding="utf-8"):
    err = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Report(len(exits), io.StringIO(), err).verdict(RunResult(exits, first_failure(exits), False, None, 2.0))
    return err.buffer.getvalue().decode(encoding)


def test_lines_carry_their_workers_number_and_stay_whole():
    out, err = io.StringIO(), io.StringIO()
    report = Report(12, out, err)
    report.line(Line(11, "stdout", "x" * 500))
    report.line(Line(0, "stderr", "[bold]not markup[/bold] :smile:"))
    assert out.getvalue() == f"[11] {'x' * 500}\n"
    assert err.getvalue() == "[0] [bold]not markup[/bold] :smile:\n"


def test_numbers_are_coloured_on_a_terminal_and_lines_are_not_wrapped(terminal):
    Report(2, terminal, terminal).line(Line(1, "stdout", "y" * 100))
    assert terminal.getvalue() == f"\x1b[35m[1]\x1b[0m {'y' * 100}\n"


def test_a_progress_bar_is_drawn_in_place_and_erased_by_a_line(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    report = Report(2, terminal, terminal)
    for line in (Line(0, "stderr", "z" * 50, True), Line(1, "stderr", "50%", True), Line(0, "stdout", "epoch 1")):
        report.line(line)
    assert terminal.getvalue() == f"[0] {'z' * 25}\r\x1b[J[1] 50%\r\x1b[J[0] epoch 1\n"


def test_the_launchers_lines_stand_below_the_output_and_a_progress_bar(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    report = Report(2, terminal, terminal)
    report.status(["step 1", "w" * 50])
    report.status(["step 1", "w" * 50])  # as they stand
    report.line(Line(0, "stdout", "epoch 1"))
    report.tick()
    report.tick()
    report.line(Line(1, "stderr", "50%", True))
    report.status(())
    w = "w" * 28 + "…"
    assert terminal.getvalue().replace("\x1b[2m", "").replace("\x1b[0m", "") == (
        f"step 1\n{w}\r\x1b[1A\x1b[J[0] epoch 1\nstep 1\n{w}\r\x1b[1A\x1b[J[1] 50%\nstep 1\n{w}\r\x1b[2A\x1b[J[1] 50%"
    )


def test_a_line_below_that_is_too_long_loses_whole_parts(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    Report(2, terminal, terminal).status(["step 1 · epoch 1, batch 3/24 · 3 workers"])
    assert "step 1 · epoch 1…" in terminal.getvalue()


def test_a_progress_bar_is_printed_now_and_then_where_there_is_no_terminal(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    err = io.StringIO()
    report = Report(1, io.StringIO(), err)
    for second in range(25):
        now[0] = 100.0 + second
        report.line(Line(0, "stderr", f"{second}%", transient=True))
    report.line(Line(0, "stderr", "100%"))
    assert err.getvalue().splitlines() == ["[0] 0%", "[0] 10%", "[0] 20%", "[0] 100%"]


def test_text_that_the_terminal_cannot_show_is_replaced():
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Report(1, out, io.StringIO()).line(Line(0, "stdout", "caf\u00e9 █"))
    assert out.buffer.getvalue() == b"[0] caf? ?\n"


def test_the_box_tells_the_cause_once_and_each_victim_in_a_line():
    cause = exit_of(1, traceback=TRACEBACK, error="ValueError: boom")
    victim = exit_of(0, traceback="Traceback: lost", error="RuntimeError: lost", lost_connection=True)
    too = exit_of(2, traceback="Traceback: other", error="KeyError: 1", failed_at=1.5)
    stopped, well = (
        exit_of(3, status=143, signal=15, stopped=True, failed_at=None),
        exit_of(4, status=0, failed_at=None),
    )
    title, *lines, rule = verdict(victim, cause, too, stopped, well).splitlines()
    assert title.startswith("── worker 1 failed first: exit status 1 ──")
    assert lines == [
        *TRACEBACK.splitlines(),
        "",
        "worker 0: stopped because worker 1 failed (it lost its connection)",
        "worker 2: failed as well: KeyError: 1",
        "worker 3: stopped because worker 1 failed",
        "worker 4: ended well",
    ]
    assert set(rule) == {"─"}


def test_one_worker_without_a_traceback_takes_one_line():
    assert verdict(exit_of(0, status=3)).splitlines() == ["── worker 0 failed: exit status 3 ".ljust(80, "─")]


def test_a_signal_is_named_with_a_guess():
    killed = exit_of(0, status=137, signal=9, host="elsewhere")
    assert "worker 0 on elsewhere failed: killed by SIGKILL (out of memory?)" in verdict(killed)
    box = verdict(exit_of(0, status=143, signal=15, stopped=True, failed_at=None), exit_of(1, status=135, signal=7))
    assert "worker 1 failed first: killed by SIGBUS (shared memory full?)" in box


def test_a_kill_that_the_kernel_explains_is_no_guess():
    killed = exit_of(0, status=137, signal=9, because="by the kernel: out of memory; the cgroup's limit is 2 GiB")
    assert "killed by SIGKILL (by the kernel: out of memory; the cgroup's limit is 2 GiB)" in verdict(killed)


def test_who_left_is_named_where_the_only_failure_is_a_lost_connection():
    lost = exit_of(0, lost_connection=True, traceback=TRACEBACK)
    box = verdict(lost, exit_of(1, status=0, failed_at=None, ended_at=2.5))
    assert "worker 1: ended well, while worker 0 still communicated" in box


def test_the_box_can_be_drawn_in_ascii():
    assert verdict(exit_of(0, status=3), encoding="ascii").startswith("-- worker 0 failed: exit status 3 --")


def test_nothing_is_said_when_all_went_well():
    assert verdict(exit_of(0, status=0, failed_at=None)) == ""
