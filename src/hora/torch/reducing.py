"""allreduce and grouped_allreduce, in all of Horovod's forms: waiting or not, in place or not, differentiable."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, overload

import torch

from hora.torch.compression import Compression, Compressor
from hora.torch.handles import Call, announce, check_name, describe, synchronize
from hora.torch.wire import OP_NAMES, Average, Max, Min, Product, Sum, launch


@overload
def allreduce(
    tensor: torch.Tensor,
    average: bool | None = None,
    name: str | None = None,
    compression: type[Compressor] = Compression.none,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> torch.Tensor: ...
@overload
def allreduce(
    tensor: float,
    average: bool | None = None,
    name: str | None = None,
    compression: type[Compressor] = Compression.none,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> Any: ...
def allreduce(
    tensor: torch.Tensor | float,
    average: bool | None = None,
    name: str | None = None,
    compression: type[Compressor] = Compression.none,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> Any:
    """Reduce a tensor, or a Python number, over all workers; every worker gets the result.

    Parameters
    ----------
    tensor
        A contiguous tensor of the same shape and dtype on every worker. A Python number is reduced as float64 or int64
        and comes back as a Python number; the Average of integers is a float. Where some workers hold a number and
        others a tensor of one element (a loop that never ran on some), all get the tensor.
    average
        Horovod's older way to say `op`: True is Average, False is Sum.
    name
        What messages call this operation.
    compression
        How the tensor travels: `Compression.none`, `.fp16` or `.bf16`.
    op
        Average (the default), Sum, Min, Max or Product. The Average of an integer tensor truncates toward zero.
    prescale_factor, postscale_factor
        What to multiply with before and after.

    Returns
    -------
    torch.Tensor or int or float
        A new tensor (or a number). Differentiable for Average and Sum: backward is an allreduce with the same op.

    Raises
    ------
    ValueError
        `average` and `op` both given, an unknown op, a tensor that is not contiguous, a name in flight.
    HorovodInternalError
        The workers' calls do not match, or a worker is gone.
    """
    op = _choose_op(average, op)
    if not isinstance(tensor, torch.Tensor):
        return _allreduce_number(tensor, name, op, prescale_factor, postscale_factor)
    return grouped_allreduce([tensor], None, name, compression, op, prescale_factor, postscale_factor)[0]


def allreduce_async(
    tensor: torch.Tensor,
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> int:
    """Start `allreduce`; return a handle for `poll` and `synchronize`. Not differentiable."""
    op = _choose_op(average, op)
    return _start([tensor], [tensor.detach().clone()], name, op, prescale_factor, postscale_factor, single=True)


def allreduce_(
    tensor: torch.Tensor,
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> torch.Tensor:
    """Do `allreduce` in place; return the tensor."""
    result: torch.Tensor = synchronize(allreduce_async_(tensor, average, name, op, prescale_factor, postscale_factor))
    return result


def allreduce_async_(
    tensor: torch.Tensor,
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> int:
    """Start `allreduce_`; return a handle."""
    op = _choose_op(average, op)
    return _start([tensor], [tensor], name, op, prescale_factor, postscale_factor, single=True)


def grouped_allreduce(
    tensors: Sequence[torch.Tensor],
    average: bool | None = None,
    name: str | None = None,
    compression: type[Compressor] = Compression.none,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> list[torch.Tensor]:
    """Reduce several tensors, of any dtypes, as one operation; an empty list raises ValueError.

    Parameters, errors and differentiability are those of `allreduce`.
    """
    op = _choose_op(average, op)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return list(_Reduce.apply(name, compression, op, prescale_factor, postscale_factor, *tensors))  # type: ignore[no-untyped-call]
    return _reduce(tensors, name, compression, op, prescale_factor, postscale_factor)


def grouped_allreduce_async(
    tensors: Sequence[torch.Tensor],
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> int:
    """Start `grouped_allreduce`; return a handle. Not differentiable."""
    op = _choose_op(average, op)
    return _start(tensors, [t.detach().clone() for t in tensors], name, op, prescale_factor, postscale_factor)


def grouped_allreduce_(
    tensors: Sequence[torch.Tensor],
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> list[torch.Tensor]:
    """Do `grouped_allreduce` in place; return the tensors."""
    return list(synchronize(grouped_allreduce_async_(tensors, average, name, op, prescale_factor, postscale_factor)))


def grouped_allreduce_async_(
    tensors: Sequence[torch.Tensor],
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> int:
    """Start `grouped_allreduce_`; return a handle."""
    return _start(tensors, tensors, name, _choose_op(average, op), prescale_factor, postscale_factor)


class _Reduce(torch.autograd.Function):
    """The differentiable allreduce."""

    @staticmethod
    def forward(
        ctx: Any,
        name: str | None,
        compression: type[Compressor],
        op: int,
        prescale: float,
        postscale: float,
        *tensors: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        ctx.settings = (name, compression, op, prescale, postscale)
        return tuple(_reduce(tensors, name, compression, op, prescale, postscale))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        name, compression, op, prescale, postscale = ctx.settings
        if op not in (Average, Sum):
            raise ValueError(f"the gradient of an allreduce with op={OP_NAMES[op]} is not defined; use Average or Sum")
        name = None if name is None else f"{name}.grad"
        contiguous = [grad.contiguous() for grad in grads]
        return (None,) * 5 + tuple(grouped_allreduce(contiguous, None, name, compression, op, prescale, postscale))


def _choose_op(average: bool | None, op: int | None) -> int:
    """Read `op` and its older form."""
    if average is not None and op is not None:
        raise ValueError("give either op or average (Horovod's older form of it), not both")
    if op is None:
        op = Average if average is None or average else Sum
    if op not in OP_NAMES:
        raise ValueError(f"op must be hvd.{', hvd.'.join(OP_NAMES.values())}; got {op!r}")
    return op


def _reduce(
    tensors: Sequence[torch.Tensor],
    name: str | None,
    compression: type[Compressor],
    op: int,
    prescale: float,
    postscale: float,
) -> list[torch.Tensor]:
    """Reduce copies of the tensors and wait."""
    sent = [compression.compress(tensor.detach()) for tensor in tensors]
    copies = [
        small if small.dtype != tensor.dtype else small.clone()
        for tensor, (small, _) in zip(tensors, sent, strict=True)
    ]
    handle = _start([small for small, _ in sent], copies, name, op, prescale, postscale)
    results = synchronize(handle)
    return [compression.decompress(result, dtype) for result, (_, dtype) in zip(results, sent, strict=True)]


def _start(
    tensors: Sequence[torch.Tensor],
    outputs: Sequence[torch.Tensor],
    name: str | None,
    op: int,
    prescale: float,
    postscale: float,
    *,
    single: bool = False,
) -> int:
    """Start to reduce `outputs`, which hold what `tensors` hold, in place."""
    if not tensors:
        raise ValueError("grouped_allreduce needs at least one tensor")
    for tensor in tensors:
        if not tensor.is_contiguous():
            raise ValueError(f"allreduce needs a contiguous tensor; got strides {tuple(tensor.stride())}")
    check_name(name)
    call = describe("allreduce", name, tensors, op=OP_NAMES[op], prescale_factor=prescale, postscale_factor=postscale)
    announce(call)
    return launch(call, outputs, op, prescale, postscale, single=single)


def _allreduce_number(value: object, name: str | None, op: int, prescale: float, postscale: float) -> Any:
    """Reduce a Python number: the announcement carries it, so nothing else need travel."""
    if isinstance(value, numbers.Integral):
        number: float = int(value)
    elif isinstance(value, numbers.Real):
        number = float(value)
    else:
        raise ValueError(f"allreduce needs a tensor or a Python number; got {type(value).__name__}")
    options = {"op": OP_NAMES[op], "prescale_factor": prescale, "postscale_factor": postscale}
    calls = announce(Call("allreduce", name, [], options, number))
    tensor_call = next((call for call in calls if call.number is None), None)
    if tensor_call is not None:
        [(dtype, shape, device)] = tensor_call.tensors
        tensor = torch.full(tuple(shape), number, dtype=getattr(torch, dtype), device=device)
        return synchronize(launch(tensor_call, [tensor], op, prescale, postscale, single=True))
    values = [call.number for call in calls]
    exact = all(isinstance(each, int) for each in values) and prescale == postscale == 1.0
    column = torch.tensor(values, dtype=torch.int64 if exact else torch.float64)
    if not exact:
        column *= prescale
    reduce: Any = {Average: torch.sum, Sum: torch.sum, Min: torch.amin, Max: torch.amax, Product: torch.prod}[op]
    result = reduce(column).item()
    if op == Average:
        result /= len(values)
    return result if exact else result * postscale
