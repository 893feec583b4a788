"""What a worker asks the others to do: an operation's kind, name, tensors and options, and whether two match."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

# Operations whose tensors may have another first dimension on each worker.
_UNEVEN = ("allgather", "alltoall")


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
    own
        What each worker brings and all must know, such as the splits of an alltoall; in terms of JSON.
    """

    kind: str
    name: str | None
    tensors: Sequence[tuple[str, Sequence[int], str]]
    options: Mapping[str, Any]
    number: float | None = None
    own: Any = None

    def __str__(self) -> str:
        what = ", ".join(f"{dtype} {list(shape)} on {device}" for dtype, shape, device in self.tensors[:3])
        more = f" and {len(self.tensors) - 3} more" if len(self.tensors) > 3 else ""
        what = f" of {what}{more}" if what else "" if self.number is None else f" of the number {self.number}"
        name = "" if self.name is None else f" '{self.name}'"
        options = "".join(f", {key}={value}" for key, value in self.options.items())
        return f"{self.kind}{name}{what}{options}"

    def matches(self, other: Call) -> bool:
        """Return whether the two calls are one operation."""
        if (self.kind, self.options) != (other.kind, other.options):
            return False
        if self.number is None and other.number is None:
            return self._signature() == other._signature()
        return (self.number is not None and (other.number is not None or other._takes(self.number))) or (
            other.number is not None and self._takes(other.number)
        )

    def difference(self, other: Call) -> str:
        """Say where two calls that do not match differ first, if that is in one of many tensors."""
        pairs = zip(self._signature(), other._signature(), self.tensors, other.tensors, strict=False)
        for place, (mine, theirs, own, its) in enumerate(pairs):
            if mine != theirs and place >= 3:
                return f"; tensor {place} is {own[0]} {list(own[1])} here and {its[0]} {list(its[1])} there"
        return ""

    def _signature(self) -> list[object]:
        """List what must agree of the tensors."""
        first = 1 if self.kind in _UNEVEN else 0
        return [(dtype, len(shape), list(shape[first:]), device) for dtype, shape, device in self.tensors]

    def _takes(self, number: float) -> bool:
        """Return whether a worker with this number can join the call: one element, of a dtype that holds it."""
        if len(self.tensors) != 1 or any(length != 1 for length in self.tensors[0][1]):
            return False
        return isinstance(number, int) or "float" in self.tensors[0][0]


def describe(kind: str, name: str | None, tensors: Sequence[torch.Tensor], *, own: Any = None, **options: Any) -> Call:
    """Describe an operation on tensors."""
    kinds = [(str(t.dtype).removeprefix("torch."), list(t.shape), t.device.type) for t in tensors]
    return Call(kind, name, kinds, options, own=own)


def encode(call: Call) -> str:
    """Write a call as text, alike for calls that are alike."""
    return json.dumps(asdict(call))


def decode(text: str) -> Call:
    """Read what `encode` wrote."""
    return Call(**json.loads(text))
