"""A verification that is interrupted leaves nothing behind, and two at once do not know of each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hora.verify import verify

SCRIPTS = Path(__file__).parent / "scripts"
TINY, CONVERTED = SCRIPTS / "tiny.py", SCRIPTS / "tiny_converted.py"
HORA = [sys.executable, "-m", "hora"]
# What workers call the directory for temporary files is free to write in, and lies in the verification's own.
ASLEEP = """
        import os, tempfile, time
        open(os.path.join(tempfile.gettempdir(), f"asleep-{os.getpid()}"), "w").close()
        time.sleep(600)
"""


def _with_variable(variable: str) -> Iterator[int]:
    """The processes that were started with a variable, and those forked from them."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                environment = (process / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if variable.encode() in environment:
                yield int(process.name)


def _until(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("asleep", ["original", "conversion", "neither"])
def test_an_interrupt_leaves_no_process_and_no_directory(tmp_path, number, asleep):
    temporary, work = tmp_path / "tmp", tmp_path / "work"
    temporary.mkdir()
    work.mkdir()
    for script, name in ((TINY, "original"), (CONVERTED, "conversion")):
        text = script.read_text()
        stop = "        optimizer.step()\n"
        (work / f"{name}.py").write_text(text.replace(stop, stop + ASLEEP) if name == asleep else text)
    variable = f"TMPDIR={temporary}"
    command = [*HORA, "verify", "-n", "2", "--steps", "8", "original.py", "conversion.py"]
    process = subprocess.Popen(
        command,
        cwd=work,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if asleep == "neither":
            # The processes that fork the workers are still importing.
            assert _until(lambda: len(list(_with_variable(variable))) > 1, 120)
        else:
            assert _until(lambda: any(temporary.rglob("asleep-*")), 240), process.stderr.read()
        process.send_signal(number)
        process.communicate(timeout=120)
        assert process.returncode == 128 + number
        assert _until(lambda: not list(_with_variable(variable)), 30), list(_with_variable(variable))
        # An import of torch makes the directory that its compiler keeps things in, for all that come later.
        left = [path.name for path in temporary.iterdir() if not path.name.startswith("torchinductor_")]
        assert left == []
        assert sorted(path.name for path in work.iterdir()) == ["conversion.py", "original.py"]
    finally:
        process.kill()
        process.wait()


def test_two_at_once_do_not_disturb_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    broken = tmp_path / "broken.py"
    broken.write_text(CONVERTED.read_text().replace("optimizer = hvd.DistributedOptimizer(optimizer)\n", ""))
    with ThreadPoolExecutor(2) as pool:
        right = pool.submit(verify, TINY, CONVERTED, workers=2, steps=6)
        wrong = pool.submit(verify, TINY, broken, workers=2, steps=6)
    assert right.result().verdict == "equivalent", right.result().why
    assert (wrong.result().verdict, wrong.result().cause) == ("not-equivalent", "HR301"), wrong.result().why
    assert [path.name for path in tmp_path.iterdir()] == ["broken.py"]
