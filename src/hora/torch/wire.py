"""A reduction on the engine: its operations, and the dtypes in which numbers travel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from hora.torch.handles import Call, start
from hora.torch.world import current

Average, Sum, Min, Max, Product = 0, 1, 3, 4, 5

OP_NAMES = {Average: "Average", Sum: "Sum", Min: "Min", Max: "Max", Product: "Product"}
_ENGINE_OPS = {
    Average: dist.ReduceOp.SUM,
    Sum: dist.ReduceOp.SUM,
    Min: dist.ReduceOp.MIN,
    Max: dist.ReduceOp.MAX,
    Product: dist.ReduceOp.PRODUCT,
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


def launch(
    call: Call, outputs: Sequence[torch.Tensor], op: int, prescale: float, postscale: float, *, single: bool
) -> int:
    """Hand the tensors of an announced call to the engine; they end up holding the result."""
    group, size = current().group, current().size
    targets = [output.detach() for output in outputs]
    wires = [_to_wire(target) for target in targets]
    for wire in wires:
        _scale(wire, prescale)

    def reduce() -> list[dist.Work | None]:
        return [] if group is None else [dist.all_reduce(wire, _ENGINE_OPS[op], group, async_op=True) for wire in wires]

    def finish() -> Any:
        for target, wire in zip(targets, wires, strict=True):
            if op == Average:
                wire.copy_(torch.div(wire, size, rounding_mode=None if wire.is_floating_point() else "trunc"))
            _scale(wire, postscale)
            if wire.dtype != target.dtype and not target.is_complex():
                target.copy_(wire)
        return outputs[0] if single else list(outputs)

    return start(call, reduce, finish)


def _to_wire(tensor: torch.Tensor) -> torch.Tensor:
    """Return what the engine can reduce: the tensor itself, or its numbers in a dtype that it knows."""
    if tensor.is_complex():
        return torch.view_as_real(tensor)
    return tensor.to(_WIDER.get(tensor.dtype, tensor.dtype))


def _scale(tensor: torch.Tensor, factor: float) -> None:
    """Multiply in place; integers in float64, rounded toward zero."""
    if factor != 1.0:
        tensor.copy_(tensor * factor if tensor.is_floating_point() else tensor.double() * factor)
