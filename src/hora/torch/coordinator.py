"""Worker 0's book of who has called what: it answers an operation when all of its workers have called it.

It knows neither tensors nor threads; `negotiation` brings the workers' messages one at a time, and carries the answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hora.torch.calls import Call, decode

JOIN_KEY = "join"

# A worker that has joined gives zeros, which are nothing to these alone.
_JOINABLE_OPS = ("Average", "Sum")


@dataclass(frozen=True)
class Ask:
    """A worker has called an operation: `call`, encoded, under a key that the workers have in common."""

    key: str
    ranks: Sequence[int]
    call: str


@dataclass(frozen=True)
class Expire:
    """A worker will not wait longer than `seconds` for an operation."""

    key: str
    seconds: float


@dataclass(frozen=True)
class Join:
    """A worker is out of data."""


@dataclass(frozen=True)
class Trace:
    """What a worker has recorded for the timeline, a line of JSON for each event; whether nothing follows."""

    lines: Sequence[str]
    last: bool


@dataclass(frozen=True)
class Leave:
    """A worker leaves the world, or is lost; `why` completes "worker 1 ..."."""

    why: str


@dataclass(frozen=True)
class Go:
    """All have called: the different calls, encoded, and for each worker which of them is its own; None has joined."""

    key: str
    calls: Sequence[str]
    whose: Sequence[int | None]


@dataclass(frozen=True)
class Fail:
    """The operation cannot be done, on any worker."""

    key: str
    why: str


@dataclass(frozen=True)
class Joined:
    """All workers have joined; `last` was the last."""

    last: int


@dataclass(frozen=True)
class Stop:
    """Worker 0 answers no more; `why` is what the operations in flight fail with."""

    why: str


@dataclass(frozen=True)
class Record:
    """Workers are to record for the timeline, or no more."""

    on: bool
    mark_cycles: bool = False


Question = Ask | Expire | Join | Leave
Answer = Go | Fail | Joined | Stop


@dataclass
class _Entry:
    """An operation that not all have called yet."""

    ranks: Sequence[int]
    since: float
    calls: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wait:
    """An operation that some of its workers have called and others have not.

    Attributes
    ----------
    key, call
        Its key, and what the first worker asked for.
    since
        When that was, by the coordinator's clock.
    waiting, missing
        The workers that have called it, and those that have not.
    """

    key: str
    call: Call
    since: float
    waiting: Sequence[int]
    missing: Sequence[int]


class Coordinator:
    """Matches the workers' calls by key.

    Parameters
    ----------
    size
        How many workers there are.
    answer
        Carries an answer to a worker.
    clock
        Tells the time, in seconds.
    """

    def __init__(
        self, size: int, answer: Callable[[int, Answer], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._size = size
        self._answer = answer
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        # Operations given up, with those who are still to be told.
        self._given_up: dict[str, tuple[str, set[int]]] = {}
        self._joined: dict[int, None] = {}
        self._left: dict[int, str] = {}

    def hear(self, rank: int, question: Question) -> None:
        """Take in what a worker says."""
        if isinstance(question, Ask):
            self._called(rank, question)
        elif isinstance(question, Expire):
            self._expired(rank, question)
        elif isinstance(question, Join):
            self._has_joined(rank)
        else:
            self._has_left(rank, question.why)

    def waits(self) -> list[Wait]:
        """List the operations that wait for workers."""
        return [
            Wait(key, decode(next(iter(entry.calls.values()))), entry.since, sorted(entry.calls), self._missing(entry))
            for key, entry in self._entries.items()
        ]

    def give_up(self, key: str, why: str) -> None:
        """Let an operation fail on the workers that have called it, and on the others once they do."""
        entry = self._entries[key]
        self._given_up[key] = (why, set(self._missing(entry)))
        self._fail(key, entry, why)

    def _called(self, rank: int, ask: Ask) -> None:
        """Note a call, and answer it where it was the last."""
        why, waiting = self._given_up.get(ask.key, ("", set()))
        if rank in waiting:
            waiting.remove(rank)
            if not waiting:
                del self._given_up[ask.key]
            self._answer(rank, Fail(ask.key, why))
            return
        lost = next((other for other in ask.ranks if other in self._left), None)
        if lost is not None:
            self._answer(rank, Fail(ask.key, f"worker {lost} {self._left[lost]}"))
            return
        entry = self._entries.setdefault(ask.key, _Entry(ask.ranks, self._clock()))
        entry.calls[rank] = ask.call
        self._settle(ask.key, entry)

    def _settle(self, key: str, entry: _Entry) -> None:
        """Answer an operation that all have called."""
        if not entry.calls or any(rank not in entry.calls for rank in self._present(entry)):
            return
        del self._entries[key]
        texts = list(dict.fromkeys(entry.calls.values()))
        calls = [decode(text) for text in texts]
        why = _mismatch(entry, texts, calls) or self._unjoinable(entry, calls[0])
        whose = [texts.index(entry.calls[rank]) if rank in entry.calls else None for rank in entry.ranks]
        answer = Fail(key, why) if why else Go(key, texts, whose)
        for rank in entry.calls if why else entry.ranks:
            self._answer(rank, answer)

    def _unjoinable(self, entry: _Entry, call: Call) -> str:
        """Say why workers that have joined cannot take part, if they would have to."""
        joined = [rank for rank in entry.ranks if rank not in entry.calls]
        possible = call.kind == "barrier" or (call.kind == "allreduce" and call.options["op"] in _JOINABLE_OPS)
        if not joined or possible:
            return ""
        who = name_workers(joined)
        return f"{who} joined, and can give zeros to an allreduce with op=Average or Sum only; not to {call}"

    def _present(self, entry: _Entry) -> list[int]:
        """List who has to call an operation: all of its workers that have not joined."""
        return [rank for rank in entry.ranks if rank not in self._joined]

    def _missing(self, entry: _Entry) -> list[int]:
        """List the workers that an operation waits for."""
        return [rank for rank in self._present(entry) if rank not in entry.calls]

    def _expired(self, rank: int, expire: Expire) -> None:
        """Give up an operation that a worker has waited for too long."""
        entry = self._entries.get(expire.key)
        if entry is not None:
            missing = name_workers(self._missing(entry))
            self.give_up(expire.key, f"{missing} did not call it within {expire.seconds:g} s")

    def _has_joined(self, rank: int) -> None:
        """Note a worker that is out of data."""
        self._joined[rank] = None
        if len(self._joined) == self._size:
            self._joined.clear()
            for other in range(self._size):
                self._answer(other, Joined(rank))
            return
        for key, entry in list(self._entries.items()):
            self._settle(key, entry)

    def _has_left(self, rank: int, why: str) -> None:
        """Give up what needs a worker that has left."""
        if rank in self._left:
            return
        self._left[rank] = why
        for key, entry in list(self._entries.items()):
            if rank in entry.ranks:
                self._fail(key, entry, f"worker {rank} {why}")
        for other in self._joined:
            self._answer(other, Fail(JOIN_KEY, f"worker {rank} {why} before it joined"))

    def _fail(self, key: str, entry: _Entry, why: str) -> None:
        """Tell those who have called an operation that it will not be."""
        del self._entries[key]
        for rank in entry.calls:
            if rank not in self._left:
                self._answer(rank, Fail(key, why))


def _mismatch(entry: _Entry, texts: Sequence[str], calls: Sequence[Call]) -> str:
    """Say what each worker asked for, where that is not one operation."""
    tensor_call = next((call for call in calls if call.number is None), calls[0])
    other = next((call for call in calls if not tensor_call.matches(call)), None)
    if other is None:
        return ""
    asked = [
        f"{name_workers([rank for rank, text in entry.calls.items() if text == own])} {call}"
        for own, call in zip(texts, calls, strict=True)
    ]
    return f"the workers called different operations: {'; '.join(asked)}{tensor_call.difference(other)}"


def name_workers(ranks: Sequence[int]) -> str:
    """Name workers."""
    return f"worker{'' if len(ranks) == 1 else 's'} {', '.join(map(str, sorted(ranks)))}"
