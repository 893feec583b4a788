"""A run tells all that its workers write and how each of them ended, and leaves none of them behind."""

import os
import signal
import threading
import time

import pytest
from waiting import children, is_there

from hora.errors import HoraError
from hora.launch import Stop, run

DEAF = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(60)"
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
"""


def test_lines_come_in_order_from_both_streams(launch):
    result, told = launch("import sys\nfor i in range(500): print(i), print(-i, file=sys.stderr)", 3)
    assert result.status == 0
    for rank in range(3):
        assert told.of(rank) == [str(i) for i in range(500)]
        assert told.of(rank, "stderr") == [str(-i) for i in range(500)]


def test_lines_come_while_the_worker_runs(launch):
    came = []
    launch("import time\nprint('first')\ntime.sleep(0.5)", 1, on_line=lambda line: came.append(time.monotonic()))
    assert time.monotonic() - came[0] > 0.4


def test_a_last_line_without_an_end_is_not_lost(launch):
    _, told = launch("import sys; sys.stdout.write('no end'); sys.stderr.write('none here')", 1)
    assert (told.of(0), told.of(0, "stderr")) == (["no end"], ["none here"])


def test_one_workers_long_line_does_not_stall_another(launch):
    code = """
import os, sys, time
if os.environ["RANK"] == "0":
    for _ in range(100):
        sys.stdout.write("x" * 100_000)
        sys.stdout.flush()
else:
    print("short")
"""
    result, told = launch(code, 2)
    assert result.status == 0
    assert [len(line) for line in told.of(0)] == [10_000_000]
    assert told.index(next(line for line in told if line.rank == 1)) == 0


@pytest.mark.parametrize(
    ("code", "status", "number"),
    [
        ("pass", 0, None),
        ("raise SystemExit(3)", 3, None),
        ("raise ValueError", 1, None),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, 9),
        ("import os; os.abort()", 134, 6),
    ],
)
def test_the_status_is_the_workers(launch, code, status, number):
    result, _ = launch(code, 1)
    assert (result.status, result.exits[0].signal) == (status, number)
    assert (result.first_failure is None) == (status == 0)


def test_the_others_are_ended_when_one_fails(launch):
    code = "import os, time\nif os.environ['RANK'] == '1': raise SystemExit(3)\ntime.sleep(60)"
    result, _ = launch(code, 3)
    assert (result.status, result.first_failure.rank) == (3, 1)
    assert [exit.stopped for exit in result.exits] == [True, False, True]
    assert result.seconds < 10


def test_a_worker_that_ignores_sigterm_is_killed_after_the_grace(launch):
    failing = f"import os, time\nif os.environ['RANK'] == '1':\n    time.sleep(0.3)\n    raise SystemExit(3)\n{DEAF}"
    result, _ = launch(failing, 2, grace=0.3)
    assert (result.status, result.exits[0].signal) == (3, signal.SIGKILL)


def test_a_worker_may_use_the_grace_to_end_in_order(launch):
    code = """
import os, signal, sys, time
def save(*_):
    time.sleep(0.2)
    print("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
if os.environ["RANK"] == "1":
    time.sleep(0.3)
    raise SystemExit(3)
time.sleep(60)
"""
    result, told = launch(code, 2)
    assert told.of(0) == ["saved"]
    assert (result.exits[0].status, result.status) == (0, 3)


@pytest.mark.parametrize("end", ["", "raise ValueError", "os.kill(os.getpid(), 9)"])
def test_children_go_with_their_worker(launch, end):
    _, told = launch(PARENT + end, 2)
    assert not any(is_there(int(pid)) for rank in range(2) for pid in told.of(rank))


def test_children_that_ignore_sigterm_go_too(launch):
    deaf_child = PARENT.replace("import time;", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);")
    _, told = launch(deaf_child + "time.sleep(0.3)", 1, grace=0.2)
    assert not is_there(int(*told.of(0)))


def test_a_process_that_left_the_session_does_not_keep_the_run(launch):
    daemon = PARENT.replace("time.sleep(60)", "time.sleep(3)").replace('"])', '"], start_new_session=True)')
    result, _ = launch(daemon, 1)
    assert result.status == 0
    assert result.seconds < 2


def test_the_time_limit_ends_a_run(launch):
    notices = []
    result, _ = launch("import time; time.sleep(60)", 2, timeout=0.3, on_notice=notices.append)
    assert (result.timed_out, result.status, result.first_failure) == (True, 124, None)
    assert notices == ["the run exceeds its 0.3 seconds: ending workers 0, 1"]


def test_a_straggler_is_named_and_left_alone(launch, monkeypatch):
    monkeypatch.setenv("HORA_STRAGGLER_SECONDS", "0.2")
    notices = []
    code = "import os, time\nif os.environ['RANK'] == '1': time.sleep(0.7)"
    result, _ = launch(code, 3, on_notice=notices.append)
    assert result.status == 0
    assert notices == ["worker 1 still running 0.2 seconds after workers 0, 2 ended well"]


def test_a_stop_from_another_thread_ends_the_run(launch):
    stop = Stop()
    threading.Timer(0.3, stop.request).start()
    result, _ = launch("import time; time.sleep(60)", 2, stop=stop, on_notice=lambda _: None)
    assert (result.status, result.stopped_by) == (128 + signal.SIGTERM, signal.SIGTERM)
    assert all(exit.stopped for exit in result.exits)


def test_an_impatient_user_need_not_wait_for_the_grace_of_the_others(launch):
    code = f"""
import os, signal, time
if os.environ["RANK"] == "1":
    print("leaves", flush=True)
    raise SystemExit(3)
signal.signal(signal.SIGINT, signal.SIG_IGN)
{DEAF}
"""
    stop = Stop()

    def insist(line):
        for after in (1.0, 1.1) if line.text == "leaves" else ():
            threading.Timer(after, stop.request, [signal.SIGINT]).start()

    result, _ = launch(code, 2, stop=stop, grace=60, timeout=30, on_line=insist, on_notice=lambda _: None)
    assert (result.status, result.first_failure.rank, result.stopped_by) == (3, 1, signal.SIGINT)
    assert result.seconds < 10


def test_an_error_in_the_callers_code_ends_the_workers(launch):
    pids = []

    def fail(line):
        pids.append(int(line.text))
        raise LookupError

    with pytest.raises(LookupError):
        launch("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)", 2, on_line=fail)
    assert not is_there(pids[0])


def test_runs_at_once_do_not_disturb_each_other(launch, tmp_path):
    (tmp_path / "port.py").write_text("import os; print(os.environ['MASTER_PORT'], os.environ['RANK'])")
    told = [[] for _ in range(4)]
    command = ["python3", str(tmp_path / "port.py")]
    threads = [threading.Thread(target=run, args=(command, 2), kwargs={"on_line": lines.append}) for lines in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    ports = [{line.text.split()[0] for line in lines} for lines in told]
    assert [len(port) for port in ports] == [1] * 4
    assert len(set.union(*ports)) == 4


def test_a_run_leaves_no_file_open_and_no_process(launch):
    launch("print('warm')", 1)
    before = os.listdir("/proc/self/fd"), children()
    launch("print('x')", 3)
    assert (os.listdir("/proc/self/fd"), children()) == before


def test_a_worker_that_cannot_be_started_is_named():
    with pytest.raises(HoraError, match=r"worker 0 could not be started: .*nowhere"):
        run(["nowhere-at-all"], 2)


@pytest.mark.parametrize("workers", [0, -1])
def test_a_run_needs_a_worker(workers):
    with pytest.raises(HoraError, match="at least 1"):
        run(["true"], workers)


def test_a_worker_has_no_input_to_wait_for(launch):
    result, _ = launch("input()", 1)
    assert result.first_failure.error == "EOFError: EOF when reading a line"
