"""reducescatter and grouped_reducescatter, in all of Horovod's forms: an exchange of rows, and a sum on each worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from hora.torch.calls import describe
from hora.torch.compression import Compression, Compressor
from hora.torch.exchanging import exchange, row_bytes
from hora.torch.gathering import check_contiguous, grouped_allgather
from hora.torch.handles import Calls, Works, start, synchronize
from hora.torch.process_sets import ProcessSet, global_process_set, members_of
from hora.torch.wire import OP_NAMES, Average, Sum, divide, options, scale, to_wire


def reducescatter(
    tensor: torch.Tensor,
    name: str | None = None,
    compression: type[Compressor] = Compression.none,
    op: int = Average,
    process_set: ProcessSet = global_process_set,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> torch.Tensor:
    """Reduce a tensor over all workers; each gets some rows of the result.

    Parameters
    ----------
    tensor
        A contiguous tensor of at least one dimension, of the same shape and dtype on every worker. Where the workers do
        not divide its rows, the first ones get one more.
    name
        What the workers find each other's calls by, in any order; by default the order of the calls decides.
    compression
        How the tensor travels: `Compression.none`, `.fp16` or `.bf16`.
    op
        Average or Sum.
    process_set
        Who takes part.
    prescale_factor, postscale_factor
        What to multiply with before and after.

    Returns
    -------
    torch.Tensor
        This worker's rows; differentiable.

    Raises
    ------
    NotImplementedError
        Another op.
    ValueError
        A tensor without dimensions or that is not contiguous, a name in flight.
    HorovodInternalError
        The workers' calls do not match, or a worker is gone.
    """
    return grouped_reducescatter([tensor], name, compression, op, process_set, prescale_factor, postscale_factor)[0]


def reducescatter_async(
    tensor: torch.Tensor,
    name: str | None = None,
    op: int = Average,
    process_set: ProcessSet = global_process_set,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> int:
    """Start `reducescatter`; return a handle. Not differentiable."""
    return _start_scatter([tensor], name, op, process_set, prescale_factor, postscale_factor, single=True)


def grouped_reducescatter(
    tensors: Sequence[torch.Tensor],
    name: str | None = None,
    compression: type[Compressor] = Compression.none,
    op: int = Average,
    process_set: ProcessSet = global_process_set,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> list[torch.Tensor]:
    """Reduce and scatter several tensors as one operation; an empty list raises ValueError. See `reducescatter`."""
    settings = (name, compression, op, process_set, prescale_factor, postscale_factor)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return list(_Scatter.apply(settings, *tensors))  # type: ignore[no-untyped-call]
    return _scatter(tensors, *settings)


def grouped_reducescatter_async(
    tensors: Sequence[torch.Tensor],
    name: str | None = None,
    op: int = Average,
    process_set: ProcessSet = global_process_set,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> int:
    """Start `grouped_reducescatter`; return a handle. Not differentiable."""
    return _start_scatter(tensors, name, op, process_set, prescale_factor, postscale_factor)


class _Scatter(torch.autograd.Function):
    """The differentiable reducescatter; as in Horovod, the gradient of a Sum is summed over the workers again."""

    @staticmethod
    def forward(ctx: Any, settings: tuple[Any, ...], *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.settings = settings
        return tuple(_scatter(tensors, *settings))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        name, _, op, process_set, prescale, postscale = ctx.settings
        factor = prescale * postscale * (members_of(process_set).size if op == Sum else 1)
        name = None if name is None else f"{name}.grad"
        return None, *grouped_allgather([(grad * factor).contiguous() for grad in grads], name, process_set)


def _scatter(
    tensors: Sequence[torch.Tensor],
    name: str | None,
    compression: type[Compressor],
    op: int,
    process_set: ProcessSet,
    prescale: float,
    postscale: float,
) -> list[torch.Tensor]:
    """Reduce and scatter tensors, and wait."""
    sent = [compression.compress(tensor.detach()) for tensor in tensors]
    results = synchronize(_start_scatter([small for small, _ in sent], name, op, process_set, prescale, postscale))
    return [compression.decompress(result, dtype) for result, (_, dtype) in zip(results, sent, strict=True)]


def _start_scatter(
    tensors: Sequence[torch.Tensor],
    name: str | None,
    op: int,
    process_set: ProcessSet,
    prescale: float,
    postscale: float,
    *,
    single: bool = False,
) -> int:
    """Start a reducescatter: each worker sends the others their rows, and adds up what it receives."""
    if op not in (Average, Sum):
        raise NotImplementedError(f"reducescatter needs op=hvd.Average or hvd.Sum; got {OP_NAMES.get(op, op)}")
    if not tensors:
        raise ValueError("grouped_reducescatter needs at least one tensor")
    members = members_of(process_set)
    for tensor in tensors:
        check_contiguous("reducescatter", tensor)
        if tensor.dim() == 0:
            raise ValueError("reducescatter needs a tensor of at least one dimension")
    sources = [to_wire(tensor.detach().clone()) for tensor in tensors]
    shares = [[len(s) // members.size + (r < len(s) % members.size) for r in range(members.size)] for s in sources]
    outputs = [
        s.new_empty((members.size, share[members.rank], *s.shape[1:])) for s, share in zip(sources, shares, strict=True)
    ]
    for source in sources:
        scale(source, prescale)

    def launch(_: Calls) -> Works:
        works: list[dist.Work | None] = []
        for source, share, output in zip(sources, shares, outputs, strict=True):
            if members.group is None:
                output[0].copy_(source)
            else:
                row = row_bytes(source)
                into = [share[members.rank] * row] * members.size
                works += exchange(output, source, into, [n * row for n in share], members.group)
        return works

    def finish(_: Calls) -> Any:
        results = []
        for tensor, output in zip(tensors, outputs, strict=True):
            total = output.sum(0, dtype=output.dtype)
            divide(total, members.size if op == Average else 1)
            scale(total, postscale)
            results.append(torch.view_as_complex(total) if tensor.is_complex() else total.to(tensor.dtype))
        return results[0] if single else results

    call = describe("reducescatter", name, tensors, **options(op, prescale, postscale))
    return start(call, launch, finish, members)
