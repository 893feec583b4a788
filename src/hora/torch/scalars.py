"""allreduce of Python numbers: the calls by which the workers find each other carry them."""

from __future__ import annotations

import numbers
from typing import Any

import torch

from hora.torch.adasum import combine
from hora.torch.calls import Call
from hora.torch.handles import Calls, Works, start, synchronize
from hora.torch.wire import Adasum, Average, Max, Min, Product, Reduction, Sum, options
from hora.torch.world import Members


def allreduce_number(
    value: object, name: str | None, op: int, prescale: float, postscale: float, members: Members
) -> Any:
    """Reduce a Python number: the call carries it, so nothing else need travel."""
    if isinstance(value, numbers.Integral):
        number: float = int(value)
    elif isinstance(value, numbers.Real):
        number = float(value)
    else:
        raise ValueError(f"allreduce needs a tensor or a Python number; got {type(value).__name__}")
    reductions: list[Reduction] = []

    def launch(calls: Calls) -> Works:
        tensors = [call.tensors[0] for call in calls if call is not None and call.number is None]
        if not tensors:
            return []
        dtype, shape, device = tensors[0]
        tensor = torch.full(tuple(shape), number, dtype=getattr(torch, dtype), device=device)
        reductions.append(Reduction([tensor], op, prescale, postscale, members))
        return reductions[0].launch(calls)

    def finish(calls: Calls) -> Any:
        if reductions:
            return reductions[0].finish(calls)[0]
        values = [call.number for call in calls if call is not None]
        exact = all(isinstance(value, int) for value in values) and prescale == postscale == 1.0
        column = torch.tensor(values, dtype=torch.int64 if exact else torch.float64)
        if not exact:
            column *= prescale
        result = _NUMBERS[op](column).item()
        if op == Average:
            result /= members.size
        return result if exact else result * postscale

    call = Call("allreduce", name, [], options(op, prescale, postscale), number)
    return synchronize(start(call, launch, finish, members))


_NUMBERS: dict[int, Any] = {
    Average: torch.sum,
    Sum: torch.sum,
    Adasum: lambda column: combine(list(column)),
    Min: torch.amin,
    Max: torch.amax,
    Product: torch.prod,
}
