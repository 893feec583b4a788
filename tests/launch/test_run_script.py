"""`hora run`: wrong input is told in one line before anything starts; else the script runs as N workers."""

import re
import signal
import threading
from pathlib import Path

import pytest
from pretending import PRETENDING

from hora.errors import HoraError
from hora.launch import run_script


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def script(code, name="train.py"):
        (tmp_path / name).write_bytes(code if isinstance(code, bytes) else code.encode())
        return name

    return script


def test_a_script_runs_with_its_arguments(script, capfd):
    train = script("import os, sys; print(sys.argv, __name__, os.environ['RANK'], os.environ['COLOUR'])")
    assert run_script(train, ["--lr", "1"], workers=2, env={"COLOUR": "red"}) == 0
    lines = sorted(capfd.readouterr().out.splitlines())
    assert lines == [f"[{rank}] ['train.py', '--lr', '1'] __main__ {rank} red" for rank in range(2)]


def test_a_module_runs_with_its_arguments(script, tmp_path, capfd):
    (tmp_path / "package").mkdir()
    script("import sys; print(__package__, sys.argv[1:])", "package/train.py")
    assert run_script("package.train", ["x"], workers=1, module=True) == 0
    assert capfd.readouterr().out == "[0] package ['x']\n"


def test_a_script_that_exits_3_is_named_in_one_line(script, capfd):
    train = script("import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(3)\ntime.sleep(60)")
    assert run_script(train, workers=2) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert [line for line in err.splitlines() if "exit status 3" in line and "worker 1" in line] == [
        err.splitlines()[0]
    ]


def test_a_traceback_is_printed_once(script, capfd):
    assert run_script(script("raise ValueError('boom')"), workers=3) == 1
    assert capfd.readouterr().err.count("Traceback") == 1


@pytest.mark.parametrize(
    ("name", "code", "found"),
    [
        ("train.sh", "echo one\nif [ -f x ]; then ls; fi", "it is not Python: line 1: invalid syntax"),
        ("train.py", "print('a')\nfor x in y\n    pass", "it is not Python: line 2: expected ':'"),
        ("train.py", "return 3", "it is not Python: line 1: 'return' outside function"),
        ("train.py", b"\x7fELF\x02\x01\x00\x00\xff\xfe", "it is not Python"),
        ("train.py", b"x = 1\x00", "it is not Python"),
        ("train.py", "# caf\u00e9".encode("latin-1"), "it is not Python"),
    ],
)
def test_what_is_not_python_is_refused(script, name, code, found):
    with pytest.raises(HoraError) as raised:
        run_script(script(code, name), workers=2)
    assert raised.value.found.startswith(found)
    assert raised.value.status == 2
    assert "\n" not in str(raised.value)


def test_a_script_in_another_encoding_is_python(script, capfd):
    latin = "# -*- coding: latin-1 -*-\nprint(len('caf\u00e9'))".encode("latin-1")
    assert run_script(script(latin), workers=1) == 0
    assert capfd.readouterr().out == "[0] 4\n"


@pytest.mark.parametrize(
    ("name", "module", "found"),
    [
        ("nowhere.py", False, "there is no such file"),
        (".", False, "this is a directory"),
        ("/dev/null", False, "this is no regular file"),
        ("nowhere.train", True, "there is no module nowhere"),
    ],
)
def test_what_is_not_there_is_refused(script, name, module, found):
    with pytest.raises(HoraError, match=found):
        run_script(name, workers=2, module=module)


@pytest.mark.parametrize("workers", [0, -2])
def test_a_number_of_workers_that_makes_no_sense_is_refused(script, workers):
    with pytest.raises(HoraError, match="at least 1"):
        run_script(script("pass"), workers=workers)


def test_signals_are_handled_as_before_afterwards(script, capfd):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)
    run_script(script("pass"), workers=1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)) == before


def test_a_script_may_be_run_in_another_thread(script, capfd):
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(run_script(script("raise SystemExit(4)"), workers=1)))
    thread.start()
    thread.join(20)
    assert statuses == [4]


def test_more_workers_than_gpus_is_only_noted(script, capfd, monkeypatch):
    monkeypatch.setattr("hora.launch.script._visible_gpus", lambda: 1)
    assert run_script(script("pass"), workers=2) == 0
    assert capfd.readouterr().err == "hora: 2 workers share 1 GPU\n"


def test_a_worker_that_keeps_the_others_waiting_is_named_with_its_place_and_ended(script, capfd, monkeypatch):
    monkeypatch.setenv("HORA_STALL_SECONDS", "0.5")
    monkeypatch.setenv("HOROVOD_STALL_SHUTDOWN_TIME_SECONDS", "2")
    monkeypatch.setattr("hora.launch.watch.OWN_SECONDS", 0.0)
    assert run_script(script(PRETENDING), workers=2) == 137
    told = capfd.readouterr().err
    assert "worker 0 waits in allreduce 'loss'" in told
    assert "worker 1 is at train.py:" in told
    assert "worker 1 failed first: killed, as the others had waited for 2 s, after 7 steps" in told
    assert "worker 0: stopped because worker 1 failed, after 7 steps" in told
    stacks = re.search(r"stacks of all workers: (\S+)", told)
    assert Path(stacks[1]).read_text().count("in augment") == 2


def test_a_wait_that_is_no_number_is_refused(script, monkeypatch):
    monkeypatch.setenv("HORA_STALL_SECONDS", "soon")
    with pytest.raises(HoraError, match="HORA_STALL_SECONDS"):
        run_script(script("pass"), workers=1)


def test_output_is_written_where_horovodrun_writes_it(script, capfd, tmp_path):
    code = f"""
import os, pathlib, time
print('out', os.environ['RANK'])
# Worker 1 fails once worker 0 has said all, which is ended then.
said = pathlib.Path({str(tmp_path / "said")!r})
if os.environ['RANK'] == '0':
    said.touch()
deadline = time.monotonic() + 60
while not said.exists() and time.monotonic() < deadline:
    time.sleep(0.01)
assert os.environ['RANK'] == '0'
"""
    assert run_script(script(code), workers=2, output=tmp_path / "out") == 1
    files = {str(path.relative_to(tmp_path)): path.read_text() for path in sorted((tmp_path / "out").rglob("std*"))}
    assert files["out/rank.0/stdout"] == "out 0\n"
    assert files["out/rank.1/stdout"] == "out 1\n"
    assert files["out/rank.1/stderr"].splitlines()[-1] == "AssertionError"


def test_an_output_directory_that_cannot_be_made_is_refused(script):
    with pytest.raises(HoraError, match="--output-filename"):
        run_script(script("pass"), workers=1, output=Path("/dev/null/x"))
