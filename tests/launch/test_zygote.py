"""Forked workers behave as executed ones do: environment, output, endings; and none outlives whoever asked for it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from waiting import PATIENCE, eventually, is_there

from hora.errors import HoraError
from hora.launch.local import run
from hora.launch.zygote import Zygote


@pytest.fixture(scope="module")
def zygote(tmp_path_factory):
    """A zygote that knows a module `job`, which runs the file that it is told to."""
    directory = tmp_path_factory.mktemp("modules")
    (directory / "job.py").write_text(
        "import runpy, sys\nif __name__ == '__main__':\n    runpy.run_path(sys.argv[1], run_name='__main__')\n"
    )
    (directory / "heavy.py").write_text("import os\nimported_by = os.getpid()\n")
    with Zygote(["heavy", "job"], {"PYTHONPATH": str(directory)}) as zygote:
        yield zygote


@pytest.fixture
def forked(zygote, tmp_path):
    def forked(code, workers, **options):
        script = tmp_path / "script.py"
        script.write_text(code)
        lines = []
        options = {"timeout": PATIENCE, "on_line": lines.append, "cwd": tmp_path, **options}
        result = run(["job", str(script)], workers, start=zygote.start, **options)
        return result, [(line.rank, line.text) for line in sorted(lines, key=lambda line: line.rank)]

    return forked


def test_a_worker_has_its_own_environment_directory_and_arguments(forked, tmp_path):
    result, lines = forked(
        "import os, sys\nprint(os.environ['RANK'], os.environ['X'], os.getcwd(), os.path.basename(sys.argv[1]))",
        2,
        env={"X": "y"},
    )
    assert result.status == 0
    assert lines == [(rank, f"{rank} y {tmp_path} script.py") for rank in range(2)]
    assert "X" not in os.environ


def test_what_is_imported_is_imported_once(forked):
    result, lines = forked("import heavy, os\nprint(heavy.imported_by == os.getpid(), heavy.imported_by)", 2)
    assert result.status == 0
    assert lines[0][1] == lines[1][1]
    assert lines[0][1].startswith("False")


def test_temporary_files_go_where_the_worker_is_told(forked, tmp_path):
    _, lines = forked("import tempfile\nprint(tempfile.gettempdir())", 1, env={"TMPDIR": str(tmp_path)})
    assert lines == [(0, str(tmp_path))]


@pytest.mark.parametrize(
    ("code", "status", "number"),
    [
        ("raise SystemExit(3)", 3, None),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL, signal.SIGKILL),
        ("1 / 0", 1, None),
    ],
)
def test_how_it_ends_is_told(forked, code, status, number):
    result, _ = forked(code, 1)
    assert (result.status, result.first_failure.signal) == (status, number)


def test_a_failure_ends_the_others_and_their_children(forked, tmp_path):
    code = """
import os, subprocess, sys, time
if os.environ["RANK"] == "0":
    while not os.path.exists("child"):
        time.sleep(0.02)
    raise ValueError("first")
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
with open("child.new", "w") as file:
    file.write(str(child.pid))
os.rename("child.new", "child")
time.sleep(60)
"""
    result, _ = forked(code, 2)
    assert result.first_failure.rank == 0
    assert result.first_failure.error == "ValueError: first"
    assert not is_there(int((tmp_path / "child").read_text()))


def test_a_worker_that_runs_out_of_time_is_ended(forked):
    result, _ = forked("import time; time.sleep(60)", 2, timeout=0.5)
    assert result.timed_out


def test_workers_do_not_outlive_whoever_asked_for_them(tmp_path):
    (tmp_path / "sleeper.py").write_text(
        "import os, pathlib, time\npathlib.Path(os.environ['RANK']).write_text(str(os.getpid()))\ntime.sleep(60)\n"
    )
    code = """
from hora.errors import HoraError
from hora.launch.local import run
from hora.launch.zygote import Zygote
with Zygote([], {}) as zygote:
    run(["sleeper"], 2, start=zygote.start)
"""
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(run.__code__.co_filename).parents[2]}"}
    asking = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=env)
    files = [tmp_path / str(rank) for rank in range(2)]
    eventually(lambda: all(file.exists() and file.read_text() for file in files), "the workers' start")
    asking.kill()
    asking.wait()
    eventually(lambda: not any(is_there(int(file.read_text())) for file in files), "the workers' end")


def test_a_zygote_that_is_gone_is_said():
    with Zygote([], {}) as zygote:
        zygote._process.kill()
        zygote._process.wait()
        with pytest.raises(HoraError, match=r"worker 0 could not be started"):
            run(["job"], 1, start=zygote.start, timeout=PATIENCE)


def test_imports_that_nobody_waits_for_any_more(tmp_path):
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\n")
    with Zygote(["slow"], {"PYTHONPATH": str(tmp_path)}) as zygote:
        threading.Timer(0.3, zygote.give_up).start()
        began = time.monotonic()
        with pytest.raises(HoraError, match=r"worker 0 could not be started"):
            run(["job"], 1, start=zygote.start, timeout=PATIENCE)
        assert time.monotonic() - began < PATIENCE


def test_runs_at_once(zygote, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    (tmp_path / "other.py").write_text("import time\ntime.sleep(0.2)\nprint('other')")
    with ThreadPoolExecutor() as pool:
        began = time.monotonic()
        runs = [
            pool.submit(run, ["job", str(tmp_path / "other.py")], 2, start=zygote.start, timeout=PATIENCE)
            for _ in range(4)
        ]
        assert [future.result().status for future in runs] == [0] * 4
        assert time.monotonic() - began < PATIENCE
