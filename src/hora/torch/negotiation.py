"""How operations that workers call in any order are agreed on: messages to worker 0, and its answers.

    main thread              listener of worker 0            listener of each worker
    ask(key, call) ────────▶ coordinator: all here? ─Go────▶ launch, in the order of the answers
                             mismatch, gone, too late ─Fail▶ the error, on every worker

They travel over a group of their own. A listener sleeps in the engine until a message comes. Worker 0 has one for each
other worker, since the engine tells of a worker's end only to who listens to that one.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from hora.torch import coordinator, timeline
from hora.torch.coordinator import Answer, Ask, Coordinator, Expire, Join, Leave, Question, Record, Stop, Trace
from hora.torch.stall import Limits, Stalls

_TAG = 1
_SLOT = 1024
_PREFIX = 8
# Listeners wait for as long as the job lasts.
_FOREVER = timedelta(days=3650)
# How long a worker that leaves waits for answers that come at once unless somebody hangs.
_FAREWELL_SECONDS = 2.0


class Negotiation:
    """A worker's end of the negotiation, for one round of `init` and `shutdown`.

    Parameters
    ----------
    rank, size
        This worker, and how many there are.
    group
        A Gloo group of all workers that carries nothing else.
    deliver
        Called with each answer for this worker, in one order on all workers.
    limits
        How long operations may wait for workers, as worker 0 sees it.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        group: dist.ProcessGroup,
        deliver: Callable[[Answer], None],
        limits: Limits = Limits(),  # noqa: B008 - it never changes
    ) -> None:
        self._rank = rank
        self._group = group
        self._deliver = deliver
        self._leaving = False
        self._left = threading.Event()
        self._told_to_stop: set[int] = set()
        self._sending = threading.Lock()
        # Answers are made, sent and delivered in one order.
        self._answering = threading.RLock()
        self._coordinator = Coordinator(size, self._carry) if rank == 0 else None
        others = range(1, size) if rank == 0 else [0]
        self._listeners = {
            other: threading.Thread(target=self._listen, args=(other,), name=f"hora listens to {other}", daemon=True)
            for other in others
        }
        for listener in self._listeners.values():
            listener.start()
        if rank == 0 and not math.isinf(limits.pause):
            threading.Thread(target=self._watch, args=(limits,), name="hora watches for stalls", daemon=True).start()

    def say(self, question: Question | Trace) -> None:
        """Tell worker 0 something.

        Raises
        ------
        RuntimeError
            Worker 0 is gone.
        """
        if self._coordinator is None or isinstance(question, Trace):
            self._send(0, question)
        else:
            with self._answering:
                self._coordinator.hear(self._rank, question)

    def tell_others(self, order: Record) -> None:
        """Tell all other workers something, as worker 0."""
        for other in self._listeners:
            self._carry(other, order)

    def leave(self, patience: float, why: str) -> None:
        """End the listeners, so that none wakes while the interpreter ends.

        Parameters
        ----------
        patience
            The seconds that worker 0 goes on answering the others, who may still be busy.
        why
            What operations that need this worker fail with, as in "worker 1 {why}".
        """
        self._leaving = True
        # Where worker 0 is gone, so is the listener.
        with suppress(RuntimeError):
            self.say(Leave(why))
        self._join_listeners(patience if self._rank == 0 else _FAREWELL_SECONDS)
        for other, listener in self._listeners.items():
            if self._rank == 0 and listener.is_alive():
                self._tell_to_stop(other, f"worker 0 {why}")
        self._join_listeners(_FAREWELL_SECONDS)
        self._left.set()
        # It knows this object: the two would keep the group until some garbage collection.
        self._coordinator = None

    def _join_listeners(self, seconds: float) -> None:
        """Wait for the listeners to end, so long at most."""
        end = time.monotonic() + seconds
        for listener in self._listeners.values():
            listener.join(max(0.0, end - time.monotonic()))

    def _listen(self, other: int) -> None:
        """Take in what another worker says, until it or this one leaves."""
        while True:
            try:
                message = self._receive(other)
            except RuntimeError:
                self._lose(other)
                return
            if isinstance(message, Ask | Expire | Join):
                self._hear(other, message)
            elif isinstance(message, Trace):
                timeline.take(message)
            elif isinstance(message, Record):
                timeline.obey(message, self._rank, self)
            elif isinstance(message, Leave):
                self._hear(other, message)
                self._tell_to_stop(other, "")
                return
            elif isinstance(message, Stop) and (self._leaving or not message.why):
                return
            else:
                with self._answering:
                    self._deliver(message)
                if isinstance(message, Stop) and message.why.startswith("worker 0 "):
                    self._answer_stop()
                    return

    def _watch(self, limits: Limits) -> None:
        """Report what waits for too long, until this worker leaves."""
        stalls = Stalls(limits)
        while not self._left.wait(limits.pause):
            with self._answering:
                lines = [] if self._coordinator is None else stalls.look(self._coordinator, time.monotonic())
            for line in lines:
                print(line, file=sys.stderr, flush=True)

    def _hear(self, other: int, question: Question) -> None:
        """Have the coordinator take in a question."""
        if self._coordinator is not None:
            with self._answering:
                self._coordinator.hear(other, question)

    def _lose(self, other: int) -> None:
        """Note that a worker ended without a word."""
        if self._coordinator is not None:
            self._hear(other, Leave("is gone"))
        elif not self._leaving:
            with self._answering:
                self._deliver(Stop("worker 0 is gone"))

    def _answer_stop(self) -> None:
        """Let the listener of worker 0 end, too."""
        with suppress(RuntimeError):
            self._send(0, Leave("has left"))

    def _tell_to_stop(self, other: int, why: str) -> None:
        """Let the listener of another worker end."""
        with self._answering:
            if other in self._told_to_stop:
                return
            self._told_to_stop.add(other)
        with suppress(RuntimeError):
            self._send(other, Stop(why))

    def _carry(self, rank: int, answer: Answer | Record) -> None:
        """Bring an answer to a worker."""
        if rank == self._rank and not isinstance(answer, Record):
            self._deliver(answer)
            return
        # A worker that was told to stop listens no more, and the engine would wait for it. Where it is gone, its
        # listener finds out.
        with suppress(RuntimeError):
            if rank not in self._told_to_stop:
                self._send(rank, answer)

    def _send(self, rank: int, message: Question | Answer | Trace | Record) -> None:
        """Send a message."""
        data = json.dumps([type(message).__name__, asdict(message)]).encode()
        slot = bytearray(len(data).to_bytes(_PREFIX, "little") + data[: _SLOT - _PREFIX].ljust(_SLOT - _PREFIX, b"\0"))
        parts = [torch.frombuffer(slot, dtype=torch.uint8)]
        if len(data) > _SLOT - _PREFIX:
            parts.append(torch.frombuffer(bytearray(data[_SLOT - _PREFIX :]), dtype=torch.uint8))
        with self._sending:
            for part in parts:
                self._group.send([part], rank, _TAG).wait()

    def _receive(self, rank: int) -> Any:
        """Wait for a message."""
        slot = torch.empty(_SLOT, dtype=torch.uint8)
        self._group.recv([slot], rank, _TAG).wait(_FOREVER)
        raw = slot.numpy().tobytes()
        length = int.from_bytes(raw[:_PREFIX], "little")
        data = raw[_PREFIX : _PREFIX + length]
        if length > len(data):
            rest = torch.empty(length - len(data), dtype=torch.uint8)
            self._group.recv([rest], rank, _TAG).wait(_FOREVER)
            data += rest.numpy().tobytes()
        kind, fields = json.loads(data)
        return getattr(coordinator, kind)(**fields)
