"""The stacks of a worker's Python threads: by the handler that `hora.torch` installs, else by py-spy."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

from hora.launch.heartbeats import Stacks
from hora.launch.spy import spy

SECONDS = 5.0
"""How long a process may take to tell its stacks."""

_PAUSE = 0.05
_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+) in (?P<function>.+)$', re.MULTILINE)


def take(pid: int, stacks: Stacks | None) -> str:
    """Return the stacks of a process of this host, or why they cannot be had.

    Parameters
    ----------
    pid
        The process.
    stacks
        How it is asked, as its heartbeat says; None if it has given none.
    """
    if (state := process_state(pid)) in ("T", "t", "Z", ""):
        return f"(no stacks: the process {_STATES.get(state, 'is gone')})\n"
    if stacks is not None:
        with suppress(OSError):
            if told := _ask(pid, stacks):
                return told
    return spy(pid)


def _ask(pid: int, stacks: Stacks) -> str:
    """Send the signal; return what the process appends to its file, nothing if it does not answer."""
    path = Path(stacks.path)
    before = size = path.stat().st_size
    os.kill(pid, stacks.signal)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(_PAUSE)
        grown = path.stat().st_size
        if before < grown == size:
            return path.read_bytes()[before:].decode("utf-8", "replace")
        size = grown
    return ""


_STATES = {"T": "is stopped (SIGSTOP)", "t": "is held by a debugger", "Z": "has ended"}


def process_state(pid: int) -> str:
    """Return the letter that Linux has for the state of a process, such as "R", "S" or "T"; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode()
    except OSError:
        return "" if sys.platform.startswith("linux") else "?"


def main_thread(stacks: str) -> str:
    """Return the main thread's part of faulthandler's text: it is the current one, which takes signals."""
    _others, found, main = stacks.partition("Current thread ")
    return f"{found}{main}".partition("\n\n")[0].rstrip() + "\n" if found else stacks


def place(stacks: str) -> str | None:
    """Return where the main thread is in the user's own code, such as ``"train.py:41 in augment"``.

    None where all of it is library code, or this is not faulthandler's text.
    """
    for frame in _FRAME.finditer(main_thread(stacks)):
        if not any(part in frame["file"] for part in _LIBRARIES):
            return f"{os.path.basename(frame['file'])}:{frame['line']} in {frame['function']}"
    return None


_LIBRARIES = ("site-packages", "dist-packages", "<frozen", os.path.dirname(os.__file__), str(Path(__file__).parents[1]))
