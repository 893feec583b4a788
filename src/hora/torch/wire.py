"""A reduction on the engine: its operations, and the dtypes in which numbers travel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from hora.torch.adasum import combine
from hora.torch.calls import Call
from hora.torch.handles import Calls, Works
from hora.torch.world import Members

Average, Sum, Adasum, Min, Max, Product = range(6)

OP_NAMES = {Average: "Average", Sum: "Sum", Adasum: "Adasum", Min: "Min", Max: "Max", Product: "Product"}
_ENGINE_OPS = {
    "Average": dist.ReduceOp.SUM,
    "Sum": dist.ReduceOp.SUM,
    "Min": dist.ReduceOp.MIN,
    "Max": dist.ReduceOp.MAX,
    "Product": dist.ReduceOp.PRODUCT,
}
# Gloo knows no int16, and one refused collective breaks its group for good; the average of int8 needs its sum.
_WIDER = {
    torch.bool: torch.int32,
    torch.int8: torch.int32,
    torch.uint8: torch.int32,
    torch.int16: torch.int32,
    torch.uint16: torch.int32,
    torch.uint32: torch.int64,
}


def options(op: int, prescale: float, postscale: float) -> dict[str, Any]:
    """List what the workers' calls must have in common beside the tensors."""
    return {"op": OP_NAMES[op], "prescale_factor": prescale, "postscale_factor": postscale}


class Reduction:
    """Reduces tensors in place, over the members of a process set.

    Parameters
    ----------
    outputs
        What to reduce; they end up holding the result.
    op, prescale, postscale
        How.
    members
        Whose they are.
    """

    def __init__(
        self, outputs: Sequence[torch.Tensor], op: int, prescale: float, postscale: float, members: Members
    ) -> None:
        self._outputs, self._op, self._postscale, self._members = outputs, op, postscale, members
        self._targets = [output.detach() for output in outputs]
        self._wires = [to_wire(target) for target in self._targets]
        self._gathered: list[list[torch.Tensor]] = []
        for wire in self._wires:
            scale(wire, prescale)

    def launch(self, _: Calls) -> Works:
        """Hand the tensors to the engine."""
        group = self._members.group
        if group is None:
            return []
        if self._op != Adasum:
            return _all_reduce(self._wires, OP_NAMES[self._op], group)
        self._gathered = [[torch.empty_like(wire) for _ in self._members.ranks] for wire in self._wires]
        pairs = zip(self._gathered, self._wires, strict=True)
        return [dist.all_gather(parts, wire, group, async_op=True) for parts, wire in pairs if wire.numel()]

    def finish(self, _: Calls) -> list[torch.Tensor]:
        """Return the reduced tensors."""
        for parts, wire in zip(self._gathered, self._wires, strict=False):
            wire.copy_(combine(parts))
        for target, wire in zip(self._targets, self._wires, strict=True):
            divide(wire, self._members.size if self._op == Average else 1)
            scale(wire, self._postscale)
            if wire.dtype != target.dtype and not target.is_complex():
                target.copy_(wire)
        return list(self._outputs)


def give_zeros(calls: Sequence[Call], members: Members) -> None:
    """Take part in an allreduce with zeros, as a worker that has joined does."""
    call = next((call for call in calls if call.number is None), None)
    if call is not None and call.kind == "allreduce" and members.group is not None:
        zeros = [
            to_wire(torch.zeros(tuple(shape), dtype=getattr(torch, dtype), device=device))
            for dtype, shape, device in call.tensors
        ]
        _all_reduce(zeros, call.options["op"], members.group)


def to_wire(tensor: torch.Tensor) -> torch.Tensor:
    """Return what the engine can reduce: the tensor itself, or its numbers in a dtype that it knows."""
    if tensor.is_complex():
        return torch.view_as_real(tensor)
    return tensor.to(_WIDER.get(tensor.dtype, tensor.dtype))


def scale(tensor: torch.Tensor, factor: float) -> None:
    """Multiply in place; integers in float64, rounded toward zero."""
    if factor != 1.0:
        tensor.copy_(tensor * factor if tensor.is_floating_point() else tensor.double() * factor)


def divide(tensor: torch.Tensor, size: int) -> None:
    """Divide in place; integers rounded toward zero."""
    if size != 1:
        tensor.copy_(torch.div(tensor, size, rounding_mode=None if tensor.is_floating_point() else "trunc"))


def _all_reduce(wires: Sequence[torch.Tensor], op: str, group: dist.ProcessGroup) -> Works:
    """Hand tensors to the engine; those without elements need none."""
    return [dist.all_reduce(wire, _ENGINE_OPS[op], group, async_op=True) for wire in wires if wire.numel()]
