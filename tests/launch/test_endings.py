"""However the launcher is ended, no worker and no child of a worker outlives it."""

import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from waiting import eventually, is_there

FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
with open(f"pids.{os.environ['RANK']}.new", "w") as file:
    print(os.getpid(), child.pid, file=file)
os.rename(file.name, f"pids.{os.environ['RANK']}")
time.sleep(60)
"""
DEAF = "import signal\nfor number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)\n" + FAMILY


def family(tmp_path, workers):
    """The process ids of all workers and their children, once all are there."""
    files = [tmp_path / f"pids.{rank}" for rank in range(workers)]
    eventually(lambda: all(file.exists() for file in files), "the workers' start")
    return [int(pid) for file in files for pid in file.read_text().split()]


def all_gone(pids):
    return not any(map(is_there, pids))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_workers(launcher, tmp_path, number):
    process = launcher(FAMILY, 2)
    pids = family(tmp_path, 2)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert all_gone(pids)
    assert f"hora: {number.name}: ending workers 0, 1" in err
    assert "Traceback" not in err


def test_sigkill_of_the_launcher_ends_the_workers(launcher, tmp_path):
    process = launcher(DEAF, 3)
    pids = family(tmp_path, 3)
    process.kill()
    eventually(lambda: all_gone(pids), "the end of workers without a launcher")


def test_a_group_is_listed_before_its_command_runs_and_until_it_is_dismissed():
    """The launcher dies right after it has started two groups, of which it has dismissed one."""
    code = """
import os, subprocess
from hora.launch.guard import Guard
guard = Guard().__enter__()
command = guard.enlist(["sleep", "30"], {})
nowhere = subprocess.DEVNULL
options = {"stdin": guard.pipe, "stdout": nowhere, "stderr": nowhere, "start_new_session": True}
one, other = (subprocess.Popen(command, **options).pid for _ in range(2))
print(one, other, flush=True)
while b"sleep" not in open(f"/proc/{other}/cmdline", "rb").read().split(b"\\0")[0]:
    pass
guard.dismiss(other)
os._exit(0)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20).stdout
    one, other = map(int, out.split())
    eventually(lambda: not is_there(one), "the end of a listed group")
    assert is_there(other)
    os.kill(other, signal.SIGKILL)


def test_a_second_interrupt_kills_at_once(launcher, tmp_path):
    process = launcher(DEAF, 2)
    pids = family(tmp_path, 2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    process.communicate(timeout=20)
    assert time.monotonic() - begun < 2
    assert all_gone(pids)


def test_a_script_may_catch_ctrl_c(launcher, tmp_path):
    process = launcher(f"try:\n    exec({FAMILY!r})\nexcept KeyboardInterrupt:\n    print('saved')", 2)
    family(tmp_path, 2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert sorted(out.splitlines()) == ["[0] saved", "[1] saved"]
    assert process.returncode == 130


def test_ctrl_c_in_a_terminal_and_closing_it(launcher, tmp_path):
    """In a real terminal: first the key, which reaches the launcher alone; then, in a second run, the terminal goes."""
    for press in (lambda terminal: os.write(terminal, b"\x03"), os.close):
        terminal, end = pty.openpty()
        # A new session whose controlling terminal is `end`, as a terminal's shell has.
        own = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
        process = launcher(FAMILY, 2, before=own, stdin=end, stdout=end, stderr=end)
        os.close(end)
        pids = family(tmp_path, 2)
        press(terminal)
        process.wait(timeout=20)
        assert process.returncode in (130, 129)
        assert all_gone(pids)
        for file in tmp_path.glob("pids.*"):
            file.unlink()


def test_output_that_nobody_reads_any_more_ends_the_run(launcher, tmp_path):
    chatty = FAMILY.replace("time.sleep(60)\n", "while True: print('more')\n")
    process = launcher(chatty, 2)
    pids = family(tmp_path, 2)
    process.stdout.close()
    assert process.wait(timeout=20) == 128 + signal.SIGPIPE
    assert process.stderr.read() == ""
    assert all_gone(pids)


def test_under_nohup_a_closed_terminal_ends_nothing(launcher, tmp_path):
    process = launcher(FAMILY, 1, before="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    pids = family(tmp_path, 1)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    assert not all_gone(pids)
