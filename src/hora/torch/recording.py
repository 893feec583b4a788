"""What a worker does when, for the timeline: operations by name, gradients by bucket, waits.

The rest of this room only asks `recording()`, which is None unless somebody wants a timeline; `timeline` decides that
and takes the events, which are those of Chrome's trace event format.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch.distributed as dist

_recording: Recording | None = None


def recording() -> Recording | None:
    """Return what records on this worker; None where nothing is to be recorded."""
    return _recording


def record(new: Recording | None) -> None:
    """Record from now on, or no more."""
    global _recording
    _recording = new


class Recording:
    """Collects events, and hands them on from time to time.

    Parameters
    ----------
    rank
        This worker; in the timeline it is a process of this number.
    carry
        Takes events, each a line of JSON; called by one thread at a time.
    pause
        The seconds between two calls of it.
    mark_cycles
        Whether to mark each time that something is handed to the engine, as Horovod marks its cycles.
    """

    def __init__(self, rank: int, carry: Callable[[list[str]], None], pause: float, *, mark_cycles: bool) -> None:
        self.mark_cycles = mark_cycles
        self._rank = rank
        self._carry = carry
        self._events: deque[dict[str, Any]] = deque()
        self._spans = itertools.count(1)
        self._threads: dict[int, None] = {}
        self._carrying = threading.Lock()
        self._stopped = threading.Event()
        self._describe("process", 0, f"worker {rank}")
        thread = threading.Thread(target=self._run, args=(pause,), name="hora timeline", daemon=True)
        thread.start()

    def begin(self, name: str, category: str, **details: object) -> Span:
        """Begin what may overlap with others of its kind, such as an operation."""
        return Span(self, f"{self._rank}.{next(self._spans)}", name, category, details)

    def waited(self, what: str, seconds: float) -> None:
        """Note that this thread has waited in `what` until now."""
        thread = threading.get_native_id()
        if thread not in self._threads:
            self._threads[thread] = None
            self._describe("thread", thread, threading.current_thread().name)
        duration = seconds * 1e6
        self.add({"ph": "X", "name": what, "cat": "wait", "ts": _now() - duration, "dur": duration, "tid": thread})

    def mark(self, name: str) -> None:
        """Note that something happened now."""
        self.add({"ph": "i", "name": name, "cat": "mark", "ts": _now(), "tid": 0, "s": "p"})

    def mark_cycle(self) -> None:
        """Note that something is handed to the engine, if that is asked for."""
        if self.mark_cycles:
            self.mark("CYCLE_START")

    def add(self, event: dict[str, Any]) -> None:
        """Take an event, to which this worker's number is added."""
        self._events.append(event)

    def stop(self) -> None:
        """Hand on what is left; no event is taken later."""
        self._stopped.set()
        self._hand_on()

    def _describe(self, kind: str, thread: int, name: str) -> None:
        """Name this process or a thread of it."""
        self.add({"ph": "M", "name": f"{kind}_name", "ts": 0, "tid": thread, "args": {"name": name}})

    def _run(self, pause: float) -> None:
        """Hand events on until the recording is stopped."""
        while not self._stopped.wait(pause):
            self._hand_on()

    def _hand_on(self) -> None:
        """Hand on the events that have come."""
        with self._carrying:
            lines = [json.dumps({**self._events.popleft(), "pid": self._rank}) for _ in range(len(self._events))]
            if lines:
                self._carry(lines)


class Span:
    """Something that takes time, in phases that follow one another.

    Parameters
    ----------
    to
        Where it is recorded.
    number
        What tells it from all others.
    name, category, details
        What it is.
    """

    def __init__(self, to: Recording, number: str, name: str, category: str, details: dict[str, object]) -> None:
        self._to = to
        # An id of this process alone: a viewer shows what has another one beside the workers, not among what they do.
        self._common = {"cat": category, "id2": {"local": number}, "tid": 0}
        self._names = [name]
        self._ended = threading.Lock()
        self._add("b", name, args=details)

    def phase(self, name: str) -> None:
        """End the phase that is on, and begin another."""
        self._end_phase()
        self._names.append(name)
        self._add("b", name)

    def end(self, error: str = "") -> None:
        """End it, with the reason where it failed; a second call does nothing."""
        if self._ended.acquire(blocking=False):
            self._end_phase()
            self._add("e", self._names[0], args={"error": error} if error else {})

    def end_after(self, works: Sequence[dist.Work]) -> None:
        """End it when the engine is done with all of `works`."""
        left = itertools.count(len(works) - 1, -1)

        def done(_: object) -> None:
            if next(left) <= 0:
                self.end()

        try:
            futures = [work.get_future() for work in works]
        except RuntimeError:  # an engine without futures: its end is not seen
            futures = []
        for future in futures:
            future.add_done_callback(done)
        if not futures:
            self.end()

    def _end_phase(self) -> None:
        """End the phase that is on, if any."""
        if len(self._names) > 1:
            self._add("e", self._names.pop())

    def _add(self, kind: str, name: str, **more: object) -> None:
        """Record the beginning or the end of it, or of a phase."""
        self._to.add({"ph": kind, "name": name, "ts": _now(), **self._common, **more})


def _now() -> float:
    """Return the time in microseconds since 1970, in which the workers of a host agree."""
    return time.time_ns() / 1000
