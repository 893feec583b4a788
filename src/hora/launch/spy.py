"""The stacks of a process that does not tell them itself: py-spy reads them from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

SECONDS = 5.0
"""How long one look may take."""

_LOOKS = 3  # the process runs on while it is looked at, so that what is seen may not fit together


def spy(pid: int) -> str:
    """Return the stacks of a Python process of this host, the main thread's last; or why they cannot be had.

    Parameters
    ----------
    pid
        The process.
    """
    beside = str(Path(sys.executable).parent)
    program = shutil.which("py-spy", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if program is None:
        return "(no stacks: it does not answer, as one that called hvd.init() would, and py-spy is not installed)\n"
    why = ""
    for _ in range(_LOOKS):
        try:
            told = subprocess.run(
                [program, "dump", "--nonblocking", "--json", "--pid", str(pid)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
            if told.returncode == 0:
                return _as_text(json.loads(told.stdout), pid)
            why = told.stderr.partition("Stack backtrace")[0]
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            why = str(error)
    return f"(no stacks: py-spy: {' '.join(why.split())})\n"


def _as_text(threads: list[dict[str, Any]], pid: int) -> str:
    """Write threads as faulthandler does, which names the one that takes signals the current one."""
    parts = []
    for thread in sorted(threads, key=lambda thread: bool(thread["os_thread_id"] == pid)):
        kind = "Current thread" if thread["os_thread_id"] == pid else "Thread"
        lines = [f"{kind} {thread['thread_id']:#018x} [{thread['thread_name']}] (most recent call first):"]
        lines += [f'  File "{one["filename"]}", line {one["line"]} in {one["name"]}' for one in thread["frames"]]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
