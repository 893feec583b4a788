"""Operations in flight: agreed on with the other workers, started on the engine, waited for by handle.

An operation has three parts: the call that all agree on, `launch`, which hands tensors to the engine as soon as they do
and in one order on all workers, and `finish`, which makes the result for whoever waits for it.
"""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch.distributed as dist

from hora.torch import heartbeat
from hora.torch.calls import Call, decode, encode
from hora.torch.coordinator import JOIN_KEY, Answer, Ask, Expire, Fail, Go, Join, Joined, Question
from hora.torch.exceptions import HorovodInternalError
from hora.torch.failure import engine_errors
from hora.torch.recording import Span, recording
from hora.torch.rendezvous import timeout
from hora.torch.world import Members, current

# How long an answer of worker 0 may take that it gives at once.
_GRACE_SECONDS = 10.0

Works = Sequence[dist.Work | None]
# What every member called, in the order of the ranks; None for one that has joined.
Calls = Sequence[Call | None]


@dataclass(eq=False)
class Operation:
    """An operation in flight on this worker.

    Attributes
    ----------
    call, members
        What it is, for messages, and whose.
    launch, finish
        As above; both are given the members' calls.
    answered
        Set when the workers have agreed, or cannot.
    error
        Why they cannot, or why the engine would not start.
    span
        What the timeline shows of it, where there is one.
    """

    call: Call
    members: Members
    launch: Callable[[Calls], Works]
    finish: Callable[[Calls], Any]
    answered: threading.Event = field(default_factory=threading.Event)
    calls: Calls = ()
    works: Sequence[dist.Work] = ()
    error: str = ""
    span: Span | None = None

    def begin(self, handle: int) -> None:
        """Let the timeline show it, where there is one."""
        record = recording()
        if record is not None:
            kind, name = self.call.kind, self.call.name
            self.span = record.begin(f"{kind}.{name or f'noname.{handle}'}", kind, call=str(self.call))
            self.span.phase(f"NEGOTIATE_{kind.upper()}")

    def go(self, calls: Calls) -> None:
        """Start it on the engine."""
        self.calls = calls
        if self.span is not None:
            self.span.phase(self.call.kind.upper())
        try:
            self.works = [work for work in self.launch(calls) if work is not None]
        except RuntimeError as error:
            self.error = str(error)
        if self.span is not None:
            self.span.end_after(self.works)
        self.answered.set()

    def fail(self, why: str) -> None:
        """Have whoever waits for it raise."""
        self.error = why
        if self.span is not None:
            self.span.end(why)
        self.answered.set()


class Operations:
    """The operations of one round of `init` and `shutdown`.

    Parameters
    ----------
    stand_in
        Takes part, with zeros, in an operation that this worker has not called since it joined.
    """

    def __init__(self, stand_in: Callable[[Sequence[Call], Members], None]) -> None:
        self._stand_in = stand_in
        self._lock = threading.Lock()
        self._by_key: dict[str, Operation] = {}
        self._by_handle: dict[int, Operation] = {}
        self._unnamed: dict[int, Iterator[int]] = defaultdict(itertools.count)
        self._joins = 0
        self._join: Operation | None = None
        self._broken = ""

    def start(self, operation: Operation) -> int:
        """Start an operation; return its handle."""
        name, members = operation.call.name, operation.members
        with self._lock:
            if name is None:
                key = f"{members.number}#{self._joins}.{next(self._unnamed[members.number])}"
            else:
                key = f"{members.number}:{name}"
            if key in self._by_key:
                raise ValueError(f"an operation named {name!r} is in flight; synchronize it first, or use another name")
            handle = next(_numbers)
            self._by_handle[handle] = operation
            if members.size > 1:
                self._by_key[key] = operation
        operation.begin(handle)
        if members.size == 1:
            operation.go([operation.call])
        else:
            self._say(operation, Ask(key, members.ranks, encode(operation.call)))
        return handle

    def join(self, operation: Operation) -> int:
        """Tell the others that this worker is out of data; the operation is answered when all are."""
        handle = next(_numbers)
        self._by_handle[handle] = self._join = operation
        self._say(operation, Join())
        return handle

    def deliver(self, answer: Answer) -> None:
        """Take in an answer; called in one order on all workers."""
        if isinstance(answer, Go):
            self._go(answer)
        elif isinstance(answer, Fail):
            operation = self._join if answer.key == JOIN_KEY else self._by_key.pop(answer.key, None)
            if operation is not None:
                operation.fail(answer.why)
        elif isinstance(answer, Joined):
            with self._lock:
                self._joins += 1
                self._unnamed.clear()
                operation, self._join = self._join, None
            if operation is not None:
                operation.go([Call("join", None, [], {}, own=answer.last)])
        else:
            self.close(answer.why)

    def close(self, why: str) -> None:
        """Fail what is in flight and whatever comes."""
        with self._lock:
            self._broken = why
            operations = [*self._by_key.values(), *([self._join] if self._join else [])]
            self._by_key.clear()
        for operation in operations:
            operation.fail(why)

    def find(self, handle: int) -> Operation:
        """Look up an operation that was not synchronized yet."""
        if handle not in self._by_handle:
            raise ValueError(f"no operation in flight has the handle {handle!r}")
        return self._by_handle[handle]

    def wait(self, handle: int) -> Any:
        """Wait for an operation; return its result."""
        operation = self.find(handle)
        del self._by_handle[handle]
        seconds = timeout().total_seconds()
        with heartbeat.waiting(operation.call):
            answered = operation.answered.wait(seconds)
        if not answered:
            key = next((key for key, other in self._by_key.items() if other is operation), JOIN_KEY)
            self._say(operation, Expire(key, seconds))
            if not operation.answered.wait(_GRACE_SECONDS):
                operation.fail(f"not all workers came within {seconds:g} s, and worker 0 does not say which")
        rank = current().rank
        if operation.error:
            raise HorovodInternalError(f"worker {rank}: {operation.call} failed: {operation.error}")
        with engine_errors(operation.call, operation.members):
            for work in operation.works:
                work.wait()
        return operation.finish(operation.calls)

    def _go(self, go: Go) -> None:
        """Start what all have agreed on."""
        record = recording()
        if record is not None:
            record.mark_cycle()
        calls = [decode(text) for text in go.calls]
        whose = [None if index is None else calls[index] for index in go.whose]
        operation = self._by_key.pop(go.key, None)
        if operation is not None:
            operation.go(whose)
        else:
            self._stand_in(calls, current().sets[int(go.key.replace("#", ":").split(":")[0])])

    def _say(self, operation: Operation, question: Question) -> None:
        """Tell worker 0 something about an operation."""
        negotiation = current().negotiation
        try:
            if self._broken or negotiation is None:
                operation.fail(self._broken)
            else:
                negotiation.say(question)
        except RuntimeError as error:
            operation.fail(f"worker 0 is gone: {error}")


_numbers = itertools.count()


def start(call: Call, launch: Callable[[Calls], Works], finish: Callable[[Calls], Any], members: Members) -> int:
    """Start an operation.

    Returns
    -------
    int
        A handle for `poll` and `synchronize`.

    Raises
    ------
    ValueError
        An operation of that name is in flight.
    """
    return current().operations.start(Operation(call, members, launch, finish))


def ask(call: Call, members: Members) -> Calls:
    """Agree on an operation that needs no engine; return the members' calls, in the order of the ranks.

    Raises
    ------
    HorovodInternalError
        On every member alike, where the calls do not match; or a worker is gone.
    """
    calls: Calls = synchronize(start(call, lambda _: [], lambda calls: calls, members))
    return calls


def poll(handle: int) -> bool:
    """Return whether `synchronize` would return at once.

    Raises
    ------
    ValueError
        There is no such handle, or it was synchronized already.
    """
    operation = current().operations.find(handle)
    return operation.answered.is_set() and all(work.is_completed() for work in operation.works)


def synchronize(handle: int) -> Any:
    """Wait for an operation and return its result.

    Raises
    ------
    ValueError
        There is no such handle, or it was synchronized already.
    HorovodInternalError
        The workers called different operations, one of them is gone, or did not come in time.
    """
    return current().operations.wait(handle)
