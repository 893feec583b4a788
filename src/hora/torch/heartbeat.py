"""A sign of life for the launcher: how far this worker is, and what it waits for.

A thread writes it into the file that HORA_HEARTBEAT names, so that a worker that is stuck in a collective still tells
in which one, and a process that is stopped tells nothing. The launcher sets the variable; without it nothing is
written. The training loop only notes a few numbers here.
"""

from __future__ import annotations

import atexit
import faulthandler
import json
import os
import signal
import statistics
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from hora.torch.recording import recording

SECONDS = 0.5
"""How often it is written."""

_RECENT = 20  # steps that the time of a step is the median of
_LONGEST = 200  # characters of what is waited for

_steps: dict[int, int] = {}
_own_seconds: deque[float] = deque(maxlen=_RECENT)
_stepped_at: tuple[float, float] | None = None
_waited = 0.0
# By thread, so that an operation of a background thread ends nobody else's wait.
_waits: dict[int, tuple[object, float]] = {}
_data: dict[str, int | None] = {"samples": 0, "epoch": None, "batch": None, "batches": None}
_thread: threading.Thread | None = None
_ending = threading.Event()
# What the stacks are written to, which must live as long as the process.
_kept: list[IO[str]] = []


@contextmanager
def waiting(what: object) -> Iterator[None]:
    """Note that this thread waits for other workers, in `what`, whose text is asked for if somebody wants to know."""
    global _waited
    thread = threading.get_ident()
    if thread in _waits:  # inside another wait, which says it better
        yield
        return
    since = time.monotonic()
    _waits[thread] = (what, since)
    try:
        yield
    finally:
        del _waits[thread]
        seconds = time.monotonic() - since
        _waited += seconds
        record = recording()
        if record is not None:
            record.waited(str(what), seconds)


def stepped(optimizer: int) -> None:
    """Note a step of an optimizer, which has a number.

    The first one's steps tell how long this worker computes between two of them, waits left out.
    """
    global _stepped_at
    _steps[optimizer] = _steps.get(optimizer, 0) + 1
    if optimizer == next(iter(_steps)):
        now = time.monotonic()
        if _stepped_at is not None:
            _own_seconds.append(now - _stepped_at[0] - (_waited - _stepped_at[1]))
        _stepped_at = (now, _waited)


def handed_out(samples: int, epoch: int, batch: int, batches: int | None) -> None:
    """Note that a dealt loader handed out the batch of this number, with so many samples for this worker."""
    _data.update(samples=(_data["samples"] or 0) + samples, epoch=epoch, batch=batch, batches=batches)


def start() -> None:
    """Begin to write, where the launcher asks for it; a second call does nothing.

    Also lets the launcher ask for this process's stacks, by a signal that no script uses.
    """
    global _thread
    path = os.environ.get("HORA_HEARTBEAT")
    if not path or (_thread is not None and _thread.is_alive()):
        return
    stacks = _answer_for_stacks(Path(f"{path}.stacks"))
    _thread = threading.Thread(target=_beat, args=(Path(path), stacks), name="hora heartbeat", daemon=True)
    _thread.start()
    atexit.register(_say_last)


def _beat(path: Path, stacks: dict[str, Any] | None) -> None:
    """Write until the process ends, or the launcher's directory is gone."""
    beside = path.with_suffix(".new")
    while path.parent.is_dir():
        ending = _ending.is_set()
        with suppress(OSError):  # the disk may be full
            beside.write_text(json.dumps({"stacks": stacks, "ending": ending, **state()}))
            beside.replace(path)
        if ending:
            break
        _ending.wait(SECONDS)


def _say_last() -> None:
    """Have it written that no more will come: the interpreter ends, which on a busy machine takes its time."""
    _ending.set()
    if _thread is not None:
        _thread.join(SECONDS)


def state() -> dict[str, Any]:
    """Return what a heartbeat tells: times in seconds, counts of this worker alone, None for what is not known."""
    waits = sorted(_waits.values(), key=lambda wait: wait[1])
    own = list(_own_seconds)
    return {
        "pid": os.getpid(),
        "time": time.time(),
        "steps": max(list(_steps.values()), default=0),
        "step_seconds": statistics.median(own) if len(own) == _RECENT else None,
        **_data,
        "waiting": {"for": str(waits[0][0])[:_LONGEST], "seconds": time.monotonic() - waits[0][1]} if waits else None,
    }


def _answer_for_stacks(path: Path) -> dict[str, Any] | None:
    """Have a signal write the stacks of all threads into a file, also while the interpreter is busy elsewhere."""
    number = getattr(signal, "SIGINFO", None) or signal.SIGRTMAX - 3
    if signal.getsignal(number) not in (signal.SIG_DFL, None):
        return None
    try:
        file = path.open("w")
        faulthandler.register(number, file=file, all_threads=True)
    except (OSError, RuntimeError, ValueError):
        return None
    _kept.append(file)
    return {"signal": int(number), "path": str(path)}
