"""allreduce and grouped_allreduce, in all of Horovod's forms: waiting or not, in place or not, differentiable."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import torch

from hora.torch.calls import describe
from hora.torch.compression import Compression, Compressor
from hora.torch.handles import start, synchronize
from hora.torch.process_sets import ProcessSet, global_process_set, members_of
from hora.torch.scalars import allreduce_number
from hora.torch.wire import OP_NAMES, Adasum, Average, Reduction, Sum, options


@overload
def allreduce(
    tensor: torch.Tensor,
    average: bool | None = None,
    name: str | None = None,
    compression: type[Compressor] = Compression.none,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
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
    process_set: ProcessSet = global_process_set,
) -> Any: ...
def allreduce(
    tensor: torch.Tensor | float,
    average: bool | None = None,
    name: str | None = None,
    compression: type[Compressor] = Compression.none,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
) -> Any:
    """Reduce a tensor, a Python number or an array of NumPy's over all workers; every worker gets the result.

    Parameters
    ----------
    tensor
        A contiguous tensor of the same shape and dtype on every worker. A Python number is reduced as float64 or int64
        and comes back as a Python number; the Average of integers is a float. Where some workers hold a number and
        others a tensor of one element (a loop that never ran on some), all get the tensor. An array comes back as one.
    average
        Horovod's older way to say `op`: True is Average, False is Sum.
    name
        What the workers find each other's calls by, in any order; by default the order of the calls decides.
    compression
        How the tensor travels: `Compression.none`, `.fp16` or `.bf16`.
    op
        Average (the default), Sum, Adasum, Min, Max or Product. The Average of an integer tensor truncates toward zero.
    prescale_factor, postscale_factor
        What to multiply with before and after.
    process_set
        Whose tensors are reduced.

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
    factors = prescale_factor, postscale_factor
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(tensor, numpy.ndarray):
        array = torch.from_numpy(numpy.ascontiguousarray(tensor))
        return grouped_allreduce([array], None, name, compression, op, *factors, process_set)[0].numpy()
    if not isinstance(tensor, torch.Tensor):
        return allreduce_number(tensor, name, op, *factors, members_of(process_set))
    return grouped_allreduce([tensor], None, name, compression, op, *factors, process_set)[0]


def allreduce_async(
    tensor: torch.Tensor,
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
) -> int:
    """Start `allreduce`; return a handle for `poll` and `synchronize`. Not differentiable."""
    settings = _Settings(name, _choose_op(average, op), prescale_factor, postscale_factor, process_set)
    return _start([tensor], [tensor.detach().clone()], settings, single=True)


def allreduce_(
    tensor: torch.Tensor,
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
) -> torch.Tensor:
    """Do `allreduce` in place; return the tensor."""
    factors = prescale_factor, postscale_factor
    result: torch.Tensor = synchronize(allreduce_async_(tensor, average, name, op, *factors, process_set))
    return result


def allreduce_async_(
    tensor: torch.Tensor,
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
) -> int:
    """Start `allreduce_`; return a handle."""
    settings = _Settings(name, _choose_op(average, op), prescale_factor, postscale_factor, process_set)
    return _start([tensor], [tensor], settings, single=True)


def grouped_allreduce(
    tensors: Sequence[torch.Tensor],
    average: bool | None = None,
    name: str | None = None,
    compression: type[Compressor] = Compression.none,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
) -> list[torch.Tensor]:
    """Reduce several tensors, of any dtypes, as one operation; an empty list raises ValueError.

    Parameters, errors and differentiability are those of `allreduce`.
    """
    settings = _Settings(name, _choose_op(average, op), prescale_factor, postscale_factor, process_set, compression)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return list(_Reduce.apply(settings, *tensors))  # type: ignore[no-untyped-call]
    return _reduce(tensors, settings)


def grouped_allreduce_async(
    tensors: Sequence[torch.Tensor],
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
) -> int:
    """Start `grouped_allreduce`; return a handle. Not differentiable."""
    settings = _Settings(name, _choose_op(average, op), prescale_factor, postscale_factor, process_set)
    return _start(tensors, [tensor.detach().clone() for tensor in tensors], settings)


def grouped_allreduce_(
    tensors: Sequence[torch.Tensor],
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
) -> list[torch.Tensor]:
    """Do `grouped_allreduce` in place; return the tensors."""
    factors = prescale_factor, postscale_factor
    return list(synchronize(grouped_allreduce_async_(tensors, average, name, op, *factors, process_set)))


def grouped_allreduce_async_(
    tensors: Sequence[torch.Tensor],
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
) -> int:
    """Start `grouped_allreduce_`; return a handle."""
    settings = _Settings(name, _choose_op(average, op), prescale_factor, postscale_factor, process_set)
    return _start(tensors, tensors, settings)


@dataclass(frozen=True)
class _Settings:
    """How to reduce: the arguments of `allreduce`."""

    name: str | None
    op: int
    prescale: float
    postscale: float
    process_set: ProcessSet
    compression: type[Compressor] = Compression.none


class _Reduce(torch.autograd.Function):
    """The differentiable allreduce."""

    @staticmethod
    def forward(ctx: Any, settings: _Settings, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.settings = settings
        return tuple(_reduce(tensors, settings))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        settings: _Settings = ctx.settings
        if settings.op not in (Average, Sum):
            name = OP_NAMES[settings.op]
            raise ValueError(f"the gradient of an allreduce with op={name} is not defined; use Average or Sum")
        again = replace(settings, name=None if settings.name is None else f"{settings.name}.grad")
        return None, *_reduce([grad.contiguous() for grad in grads], again)


def _choose_op(average: bool | None, op: int | None) -> int:
    """Read `op` and its older form."""
    if average is not None and op is not None:
        raise ValueError("give either op or average (Horovod's older form of it), not both")
    if op is None:
        op = Average if average is None or average else Sum
    if op not in OP_NAMES:
        raise ValueError(f"op must be hvd.{', hvd.'.join(OP_NAMES.values())}; got {op!r}")
    return op


def _reduce(tensors: Sequence[torch.Tensor], settings: _Settings) -> list[torch.Tensor]:
    """Reduce copies of the tensors and wait."""
    sent = [settings.compression.compress(tensor.detach()) for tensor in tensors]
    copies = [
        small if small.dtype != tensor.dtype else small.clone()
        for tensor, (small, _) in zip(tensors, sent, strict=True)
    ]
    results = synchronize(_start([small for small, _ in sent], copies, settings))
    return [settings.compression.decompress(result, dtype) for result, (_, dtype) in zip(results, sent, strict=True)]


def _start(
    tensors: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor], settings: _Settings, *, single: bool = False
) -> int:
    """Start to reduce `outputs`, which hold what `tensors` hold, in place."""
    if not tensors:
        raise ValueError("grouped_allreduce needs at least one tensor")
    members, op = members_of(settings.process_set), settings.op
    for tensor in tensors:
        if not tensor.is_contiguous():
            raise ValueError(f"allreduce needs a contiguous tensor; got strides {tuple(tensor.stride())}")
        if op == Adasum and not tensor.is_floating_point():
            raise ValueError(f"op=hvd.Adasum needs floating-point numbers; got {tensor.dtype}")
    call = describe("allreduce", settings.name, tensors, **options(op, settings.prescale, settings.postscale))
    reduction = Reduction(outputs, op, settings.prescale, settings.postscale, members)
    return start(
        call,
        reduction.launch,
        (lambda calls: reduction.finish(calls)[0]) if single else reduction.finish,
        members,
    )
