"""`start_timeline` and `stop_timeline`: worker 0 writes what all workers do into one file that Perfetto opens.

Worker 0 tells the others to record; they send it their events over the negotiation's group, away from the gradients'.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hora.errors import HoraError
from hora.torch.coordinator import Record, Trace
from hora.torch.recording import Recording, record, recording
from hora.torch.world import current

if TYPE_CHECKING:
    from hora.torch.negotiation import Negotiation

_PAUSE_SECONDS = 0.05
_PAUSE_OF_OTHERS_SECONDS = 0.25
# How long worker 0 waits for what the others still have to send when a timeline ends.
_PATIENCE_SECONDS = 2.0

_file: TraceFile | None = None


def start_timeline(file_path: str | os.PathLike[str], mark_cycles: bool = False) -> None:
    """Record a timeline of all workers, from now to `stop_timeline` or `shutdown`.

    Worker 0 decides and writes the file; on the others this does nothing. HORA_TIMELINE (or HOROVOD_TIMELINE) names a
    file for the whole run instead.

    Parameters
    ----------
    file_path
        On worker 0's host. It holds a JSON array of trace events, complete whenever it is read, also after a kill.
    mark_cycles
        Whether to mark each time that something is handed to the engine.

    Raises
    ------
    ValueError
        `init` was not called yet.
    HoraError
        The file cannot be written.
    """
    if current().rank:
        return
    stop_timeline()
    _start(Path(file_path), mark_cycles)


def stop_timeline() -> None:
    """End the timeline; its file then has all events of all workers. Does nothing without one, and on other workers.

    Raises
    ------
    ValueError
        `init` was not called yet.
    """
    world = current()
    if world.rank or _file is None:
        return
    _stop_recording()
    if world.negotiation is not None:
        world.negotiation.tell_others(Record(on=False))
        _file.await_last(world.size - 1)
    _close()


def start_as_told() -> None:
    """Start the timeline that the environment asks for, if it does; each generation of a job has a file of its own."""
    path, world = os.environ.get("HORA_TIMELINE") or os.environ.get("HOROVOD_TIMELINE", ""), current()
    if path in ("", "DYNAMIC"):
        return
    cycles = ("HORA_TIMELINE_MARK_CYCLES", "HOROVOD_TIMELINE_MARK_CYCLES")
    mark_cycles = any(os.environ.get(name, "0") not in ("", "0") for name in cycles)
    if world.rank and world.negotiation is not None:
        obey(Record(on=True, mark_cycles=mark_cycles), world.rank, world.negotiation)
        return
    generation = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    place = Path(path)
    if generation != "0":
        place = place.with_name(f"{place.stem}-{generation}{place.suffix}")
    _start(place, mark_cycles)


@contextmanager
def ending() -> Iterator[None]:
    """Have what is left recorded before the workers part inside, and close the file after it."""
    _stop_recording()
    try:
        yield
    finally:
        _close()


def obey(order: Record, rank: int, negotiation: Negotiation) -> None:
    """Do what worker 0 says: record from now on and send it the events, or no more."""

    def send(lines: Sequence[str], last: bool = False) -> None:
        try:
            negotiation.say(Trace(lines, last))
        except RuntimeError:  # worker 0 is gone, and the timeline with it
            record(None)

    if not order.on:
        _stop_recording()
        send([], last=True)
    elif recording() is None:
        record(Recording(rank, send, _PAUSE_OF_OTHERS_SECONDS, mark_cycles=order.mark_cycles))


def take(trace: Trace) -> None:
    """Write what another worker has recorded."""
    if _file is not None:
        _file.write(trace.lines)
        if trace.last:
            _file.count_last()


class TraceFile:
    """A JSON array of trace events that is complete after each write.

    Parameters
    ----------
    path
        Where; what was there is overwritten.

    Raises
    ------
    OSError
        The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._lock = threading.Lock()
        self._last = threading.Semaphore(0)
        self._file.write(b"[\n]\n")
        self._end = len(b"[\n")

    def write(self, lines: Sequence[str]) -> None:
        """Add events, each a line of JSON; where the disk is full, say so once and add none any more."""
        with self._lock:
            if not lines or self._file.closed:
                return
            data = (",\n" if self._end > len(b"[\n") else "").encode() + ",\n".join(lines).encode()
            try:
                self._file.seek(self._end)
                self._file.write(data + b"\n]\n")
            except OSError as error:
                print(f"hora: the timeline ends here: {error}", file=sys.stderr)
                self._file.close()
            self._end += len(data)

    def count_last(self) -> None:
        """Note that another worker has sent all it had."""
        self._last.release()

    def await_last(self, others: int) -> None:
        """Wait until the other workers have sent all they had, for a short while at most."""
        end = time.monotonic() + _PATIENCE_SECONDS
        for _ in range(others):
            self._last.acquire(timeout=max(0.0, end - time.monotonic()))

    def close(self) -> None:
        """Close the file; what comes later is dropped."""
        with self._lock:
            self._file.close()


def _start(path: Path, mark_cycles: bool) -> None:
    """Open the file, record, and have the others record."""
    global _file
    try:
        _file = TraceFile(path)
    except OSError as error:
        raise HoraError(f"a timeline in {path}", f"it cannot be written: {error}", "Name a file that can") from error
    start = {"ph": "M", "name": "start_time_since_epoch_in_micros", "pid": 0, "tid": 0, "ts": 0}
    _file.write([json.dumps({**start, "args": {"start_time_since_epoch_in_micros": time.time_ns() // 1000}})])
    record(Recording(0, _file.write, _PAUSE_SECONDS, mark_cycles=mark_cycles))
    negotiation = current().negotiation
    if negotiation is not None:
        negotiation.tell_others(Record(on=True, mark_cycles=mark_cycles))


def _stop_recording() -> None:
    """Record no more; what was recorded is handed on."""
    now = recording()
    record(None)
    if now is not None:
        now.stop()


def _close() -> None:
    """Close the file, if one is open."""
    global _file
    if _file is not None:
        _file.close()
        _file = None
