"""Watching processes come and go, with an end to every wait."""

import os
import time
from pathlib import Path

PATIENCE = 20.0


def is_there(pid):
    """Whether a process lives; a zombie that nobody has fetched does not."""
    try:
        os.kill(pid, 0)
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except (ProcessLookupError, FileNotFoundError):
        return False


def eventually(true, what):
    """Wait until something holds and return it."""
    end = time.monotonic() + PATIENCE
    while not (answer := true()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)
    return answer


def children():
    """Processes that this one has started and not fetched."""
    stats = (path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists())
    return {stat.split()[0] for stat in stats if stat.rpartition(")")[2].split()[1] == str(os.getpid())}
