"""Operations in flight: announced to the other workers, started on the engine, waited for by handle.

Operations match in call order. Before the engine runs one, the workers show each other what they are about to do, so
that a mismatch raises on every worker alike and leaves the process group healthy.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.distributed as dist

from hora.torch.exceptions import HorovodInternalError
from hora.torch.exchange import exchange
from hora.torch.failure import engine_errors
from hora.torch.world import current


@dataclass(frozen=True)
class Call:
    """What one worker is about to do.

    Attributes
    ----------
    kind
        The operation, such as ``"allreduce"``.
    name
        The user's name for it, if any.
    tensors
        Each tensor's dtype, shape and kind of device, such as ``("float32", [3, 4], "cpu")``; none for a `number`.
    options
        What else must agree, such as ``{"op": "Sum"}``.
    number
        The Python number to reduce, where it is no tensor.
    """

    kind: str
    name: str | None
    tensors: Sequence[tuple[str, Sequence[int], str]]
    options: Mapping[str, Any]
    number: float | None = None

    def __str__(self) -> str:
        what = ", ".join(f"{dtype} {list(shape)} on {device}" for dtype, shape, device in self.tensors)
        what = f" of {what}" if what else "" if self.number is None else f" of the number {self.number}"
        name = "" if self.name is None else f" '{self.name}'"
        options = "".join(f", {key}={value}" for key, value in self.options.items())
        return f"{self.kind}{name}{what}{options}"

    def matches(self, other: Call) -> bool:
        """Return whether the two calls are one operation."""
        if (self.kind, self.options) != (other.kind, other.options):
            return False
        if None not in (self.name, other.name) and self.name != other.name:
            return False
        if self.number is None and other.number is None:
            return self._signature() == other._signature()
        return (self.number is not None and (other.number is not None or other._takes(self.number))) or (
            other.number is not None and self._takes(other.number)
        )

    def _signature(self) -> list[object]:
        """List what must agree of the tensors: everything, save an allgather's first dimension."""
        first = 1 if self.kind == "allgather" else 0
        return [(dtype, len(shape), list(shape[first:]), device) for dtype, shape, device in self.tensors]

    def _takes(self, number: float) -> bool:
        """Return whether a worker with this number can join the call: one element, of a dtype that holds it."""
        if len(self.tensors) != 1 or any(length != 1 for length in self.tensors[0][1]):
            return False
        return isinstance(number, int) or "float" in self.tensors[0][0]


def describe(kind: str, name: str | None, tensors: Sequence[torch.Tensor], **options: Any) -> Call:
    """Describe an operation on tensors."""
    kinds = [(str(t.dtype).removeprefix("torch."), list(t.shape), t.device.type) for t in tensors]
    return Call(kind, name, kinds, options)


def announce(call: Call) -> list[Call]:
    """Show the other workers what this one is about to do; return all the calls, in the order of the ranks.

    Raises
    ------
    HorovodInternalError
        On every worker alike, where the calls do not match, naming a worker that differs from worker 0.
    """
    rows = exchange(json.dumps(asdict(call)).encode(), str(call))
    calls = [Call(**json.loads(row)) for row in rows]
    for rank, other in enumerate(calls):
        if not calls[0].matches(other):
            raise HorovodInternalError(
                f"worker {current().rank}: the workers called different operations: worker 0 {calls[0]}; "
                f"worker {rank} {other}"
            )
    return calls


@dataclass(frozen=True)
class _Pending:
    """An operation in flight: what to wait for, and what then makes its result."""

    call: Call
    works: Sequence[dist.Work]
    finish: Callable[[], Any]


_pending: dict[int, _Pending] = {}
_numbers = itertools.count()


def check_name(name: str | None) -> None:
    """Refuse a name that is in flight."""
    if name is not None and any(pending.call.name == name for pending in _pending.values()):
        raise ValueError(f"an operation named {name!r} is still in flight; synchronize it first, or use another name")


def start(call: Call, launch: Callable[[], Sequence[dist.Work | None]], finish: Callable[[], Any]) -> int:
    """Start an announced operation on the engine.

    Parameters
    ----------
    call
        What it is, for messages.
    launch
        Hands the tensors to the engine.
    finish
        Makes the result once the engine is done.

    Returns
    -------
    int
        A handle for `poll` and `synchronize`.
    """
    with engine_errors(call):
        works = [work for work in launch() if work is not None]
    handle = next(_numbers)
    _pending[handle] = _Pending(call, works, finish)
    return handle


def poll(handle: int) -> bool:
    """Return whether `synchronize` would return at once.

    Raises
    ------
    ValueError
        There is no such handle, or it was synchronized already.
    """
    return all(work.is_completed() for work in _find(handle).works)


def synchronize(handle: int) -> Any:
    """Wait for an operation and return its result.

    Raises
    ------
    ValueError
        There is no such handle, or it was synchronized already.
    HorovodInternalError
        A worker is gone, or did not come in time.
    """
    pending = _find(handle)
    del _pending[handle]
    with engine_errors(pending.call):
        for work in pending.works:
            work.wait()
    return pending.finish()


def _find(handle: int) -> _Pending:
    """Look up an operation in flight."""
    if handle not in _pending:
        raise ValueError(f"no operation in flight has the handle {handle!r}")
    return _pending[handle]
