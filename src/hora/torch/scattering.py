"""alltoall, reducescatter and grouped_reducescatter, in all of Horovod's forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from hora.torch.calls import describe
from hora.torch.compression import Compression, Compressor
from hora.torch.gathering import as_bytes, check_contiguous, grouped_allgather
from hora.torch.handles import Calls, Works, start, synchronize
from hora.torch.process_sets import ProcessSet, global_process_set, members_of
from hora.torch.wire import OP_NAMES, Average, Sum, divide, scale, to_wire

Received = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


def alltoall(
    tensor: torch.Tensor,
    splits: torch.Tensor | Sequence[int] | None = None,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> Received:
    """Send each worker some rows of a tensor; return the rows that were sent here, in the order of the ranks.

    Parameters
    ----------
    tensor
        A contiguous tensor of at least one dimension.
    splits
        How many rows each worker gets, as integers; their sum is the number of rows. By default all get as many.
    name
        What the workers find each other's calls by, in any order; by default the order of the calls decides.
    process_set
        Who takes part.

    Returns
    -------
    torch.Tensor or tuple of (torch.Tensor, torch.Tensor)
        The rows; where `splits` was given, also how many came from each worker. Differentiable.

    Raises
    ------
    ValueError
        Splits that do not fit the tensor or the workers, a tensor that is not contiguous, a name in flight.
    HorovodInternalError
        The workers' calls do not match, or a worker is gone.
    """
    if tensor.requires_grad and torch.is_grad_enabled():
        output, received = _Exchange.apply(tensor, splits, name, process_set)  # type: ignore[no-untyped-call]
    else:
        output, received = synchronize(_start_alltoall(tensor, splits, name, process_set))
    return output if splits is None else (output, received)


def alltoall_async(
    tensor: torch.Tensor,
    splits: torch.Tensor | Sequence[int] | None = None,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> int:
    """Start `alltoall`; return a handle for `poll` and `synchronize`. Not differentiable."""
    return _start_alltoall(tensor, splits, name, process_set, bare=splits is None)


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


class _Exchange(torch.autograd.Function):
    """The differentiable alltoall: gradients go back where the rows came from."""

    @staticmethod
    def forward(
        ctx: Any,
        tensor: torch.Tensor,
        splits: torch.Tensor | Sequence[int] | None,
        name: str | None,
        process_set: ProcessSet,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        output, received = synchronize(_start_alltoall(tensor, splits, name, process_set))
        ctx.received, ctx.name, ctx.process_set = received, name, process_set
        ctx.mark_non_differentiable(received)
        return output, received

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, _: object) -> tuple[torch.Tensor, None, None, None]:
        name = None if ctx.name is None else f"{ctx.name}.grad"
        back, _sent = synchronize(_start_alltoall(grad.contiguous(), ctx.received, name, ctx.process_set))
        return back, None, None, None


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


def _start_alltoall(
    tensor: torch.Tensor,
    splits: torch.Tensor | Sequence[int] | None,
    name: str | None,
    process_set: ProcessSet,
    *,
    bare: bool = False,
) -> int:
    """Start an alltoall; its result is the rows and how many each worker sent, or the rows alone."""
    check_contiguous("alltoall", tensor)
    members = members_of(process_set)
    source = tensor.detach()
    counts = _counts(source, splits, members.size)
    outputs: list[torch.Tensor] = []
    received: list[int] = []

    def launch(calls: Calls) -> Works:
        received.extend(call.own[members.rank] for call in calls if call is not None)
        outputs.append(source.new_empty((sum(received), *source.shape[1:])))
        if members.group is None:
            outputs[0].copy_(source)
            return []
        row = _row_bytes(source)
        return _exchange(outputs[0], source, [n * row for n in received], [n * row for n in counts], members.group)

    def finish(_: Calls) -> Any:
        return outputs[0] if bare else (outputs[0], torch.tensor(received, dtype=torch.int32))

    return start(describe("alltoall", name, [tensor], own=counts), launch, finish, members)


def _counts(tensor: torch.Tensor, splits: torch.Tensor | Sequence[int] | None, size: int) -> list[int]:
    """Read how many rows each worker gets."""
    if tensor.dim() == 0:
        raise ValueError("alltoall needs a tensor of at least one dimension")
    if splits is None:
        if len(tensor) % size:
            raise ValueError(f"alltoall of {len(tensor)} rows over {size} workers needs splits: they do not divide it")
        return [len(tensor) // size] * size
    given = torch.as_tensor(splits)
    if given.dtype.is_floating_point or given.dtype.is_complex or given.dim() != 1:
        raise ValueError(f"splits must be one row of integers; got {given.dtype} of shape {list(given.shape)}")
    counts: list[int] = given.tolist()
    if len(counts) != size or min(counts) < 0 or sum(counts) != len(tensor):
        raise ValueError(f"splits must be {size} numbers of rows with the sum {len(tensor)}; got {counts}")
    return counts


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
                row = _row_bytes(source)
                into = [share[members.rank] * row] * members.size
                works += _exchange(output, source, into, [n * row for n in share], members.group)
        return works

    def finish(_: Calls) -> Any:
        results = []
        for tensor, output in zip(tensors, outputs, strict=True):
            total = output.sum(0, dtype=output.dtype)
            divide(total, members.size if op == Average else 1)
            scale(total, postscale)
            results.append(torch.view_as_complex(total) if tensor.is_complex() else total.to(tensor.dtype))
        return results[0] if single else results

    options = {"op": OP_NAMES[op], "prescale_factor": prescale, "postscale_factor": postscale}
    return start(describe("reducescatter", name, tensors, **options), launch, finish, members)


def _row_bytes(tensor: torch.Tensor) -> int:
    """Return how many bytes one row has."""
    return tensor.element_size() * torch.empty(tensor.shape[1:], device="meta").numel()


def _exchange(
    output: torch.Tensor, source: torch.Tensor, into: Sequence[int], out_of: Sequence[int], group: dist.ProcessGroup
) -> list[dist.Work | None]:
    """Hand an exchange of so many bytes with each worker to the engine."""
    return [dist.all_to_all_single(as_bytes(output), as_bytes(source), list(into), list(out_of), group, async_op=True)]
