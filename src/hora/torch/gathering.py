"""allgather and grouped_allgather, in all of Horovod's forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from hora.torch.calls import describe
from hora.torch.handles import Calls, Works, start, synchronize
from hora.torch.process_sets import ProcessSet, global_process_set, members_of
from hora.torch.reducing import grouped_allreduce
from hora.torch.wire import Average


def allgather(
    tensor: torch.Tensor, name: str | None = None, process_set: ProcessSet = global_process_set
) -> torch.Tensor:
    """Concatenate the workers' tensors along dimension 0, in the order of the ranks.

    Parameters
    ----------
    tensor
        A contiguous tensor; its first dimension may differ between workers and may be 0. A tensor without dimensions
        counts as one row.
    name
        What the workers find each other's calls by, in any order; by default the order of the calls decides.
    process_set
        Whose tensors are gathered.

    Returns
    -------
    torch.Tensor
        A new tensor; differentiable: each worker gets the workers' mean gradient at its own rows, as in Horovod.

    Raises
    ------
    ValueError
        A tensor that is not contiguous, a name in flight.
    HorovodInternalError
        The workers' calls do not match, or a worker is gone.
    """
    return grouped_allgather([tensor], name, process_set)[0]


def allgather_async(tensor: torch.Tensor, name: str | None = None, process_set: ProcessSet = global_process_set) -> int:
    """Start `allgather`; return a handle for `poll` and `synchronize`. Not differentiable."""
    return _start([tensor], name, process_set, single=True)


def grouped_allgather(
    tensors: Sequence[torch.Tensor], name: str | None = None, process_set: ProcessSet = global_process_set
) -> list[torch.Tensor]:
    """Gather several tensors, of any dtypes, as one operation; an empty list raises ValueError. See `allgather`."""
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return list(_Gather.apply(name, process_set, *tensors))  # type: ignore[no-untyped-call]
    return list(synchronize(_start(tensors, name, process_set)))


def grouped_allgather_async(
    tensors: Sequence[torch.Tensor], name: str | None = None, process_set: ProcessSet = global_process_set
) -> int:
    """Start `grouped_allgather`; return a handle. Not differentiable."""
    return _start(tensors, name, process_set)


class _Gather(torch.autograd.Function):
    """The differentiable allgather."""

    @staticmethod
    def forward(
        ctx: Any, name: str | None, process_set: ProcessSet, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        lengths: list[list[int]] = []
        handle = _start(tensors, name, process_set, lengths=lengths)
        results = synchronize(handle)
        rank = members_of(process_set).rank
        ctx.own = [(sum(each[:rank]), each[rank]) for each in lengths]
        ctx.shapes = [tensor.shape for tensor in tensors]
        ctx.name, ctx.process_set = name, process_set
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        name = None if ctx.name is None else f"{ctx.name}.grad"
        totals = grouped_allreduce(
            [grad.contiguous() for grad in grads], None, name, op=Average, process_set=ctx.process_set
        )
        parts = zip(totals, ctx.own, ctx.shapes, strict=True)
        return None, None, *(total.narrow(0, *own).reshape(shape) for total, own, shape in parts)


def _start(
    tensors: Sequence[torch.Tensor],
    name: str | None,
    process_set: ProcessSet,
    *,
    single: bool = False,
    lengths: list[list[int]] | None = None,
) -> int:
    """Start an allgather; each worker's numbers of rows are appended to `lengths`."""
    if not tensors:
        raise ValueError("grouped_allgather needs at least one tensor")
    for tensor in tensors:
        check_contiguous("allgather", tensor)
    members = members_of(process_set)
    rows = [tensor.detach().reshape(1) if tensor.dim() == 0 else tensor.detach() for tensor in tensors]
    counts: list[list[int]] = [] if lengths is None else lengths
    parts: list[list[torch.Tensor]] = []

    def launch(calls: Calls) -> Works:
        works: list[dist.Work | None] = []
        for place, own in enumerate(rows):
            counts.append([call.tensors[place][1][0] for call in calls if call is not None])
            # The engine gathers equal parts only.
            padded = own.new_zeros((max(counts[place]), *own.shape[1:]))
            padded[: len(own)] = own
            parts.append([torch.empty_like(padded) if members.group else padded for _ in counts[place]])
            if members.group is not None and padded.numel():
                wires = [as_bytes(part) for part in parts[place]]
                works.append(dist.all_gather(wires, as_bytes(padded), members.group, async_op=True))
        return works

    def finish(_: Calls) -> Any:
        results = [
            torch.cat([part[:length] for part, length in zip(each, count, strict=True)])
            for each, count in zip(parts, counts, strict=True)
        ]
        return results[0] if single else results

    return start(describe("allgather", name, rows), launch, finish, members)


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """View a contiguous tensor as bytes, which the engine moves whatever the dtype."""
    return tensor.detach().reshape(-1).view(torch.uint8)


def check_contiguous(kind: str, tensor: torch.Tensor) -> None:
    """Refuse a tensor that is not contiguous."""
    if not tensor.is_contiguous():
        raise ValueError(f"{kind} needs a contiguous tensor; got strides {tuple(tensor.stride())}")
