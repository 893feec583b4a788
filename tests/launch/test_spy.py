"""A process that knows nothing of Hora: py-spy reads its stacks, and says what hinders it."""

import os
import subprocess
import sys

import pytest
from waiting import eventually

from hora.launch import spy, stacks

SCRIPT = """
import ctypes, threading, time

def load():
    time.sleep(60)

def augment():
    print("there", flush=True)
    time.sleep(60)

ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # Yama: anybody of this user may look
threading.Thread(target=load, name="loader", daemon=True).start()
augment()
"""


@pytest.fixture
def stranger(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    with subprocess.Popen([sys.executable, "train.py"], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"there\n"
        yield process.pid
        process.kill()


def test_the_stacks_are_told_as_faulthandler_would(stranger):
    told = eventually(lambda: "in load" in (text := stacks.take(stranger, None)) and text, "stacks that fit together")
    assert "[loader] (most recent call first):" in told
    assert "in load" not in stacks.main_thread(told)
    assert stacks.place(told) == "train.py:9 in augment"


@pytest.mark.parametrize("there", [True, False])
def test_one_that_does_not_answer_its_signal_is_looked_at(stranger, tmp_path, monkeypatch, there):
    monkeypatch.setattr(stacks, "SECONDS", 0.2)
    if there:
        (tmp_path / "stacks").touch()
    assert "in augment" in stacks.take(stranger, stacks.Stacks(0, str(tmp_path / "stacks")))


def test_why_it_cannot_look_is_told_in_one_line(monkeypatch, tmp_path):
    program = tmp_path / "py-spy"
    said = "Error: Permission Denied\\n\\nReason: ptrace\\nStack backtrace:\\n 0: x"
    program.write_text(f"#!/bin/sh\nprintf '{said}' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(spy.shutil, "which", lambda name, path: str(program))
    assert spy.spy(os.getpid()) == "(no stacks: py-spy: Error: Permission Denied Reason: ptrace)\n"


def test_where_it_is_not_installed_that_is_said(monkeypatch):
    monkeypatch.setattr(spy.shutil, "which", lambda name, path: None)
    assert "py-spy is not installed" in spy.spy(os.getpid())
