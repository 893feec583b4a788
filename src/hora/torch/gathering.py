"""allgather, broadcast and barrier, in all of Horovod's forms."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from hora.torch.handles import Call, announce, check_name, describe, start, synchronize
from hora.torch.reducing import allreduce
from hora.torch.wire import Sum
from hora.torch.world import current


def allgather(tensor: torch.Tensor, name: str | None = None) -> torch.Tensor:
    """Concatenate the workers' tensors along dimension 0, in the order of the ranks.

    Parameters
    ----------
    tensor
        A contiguous tensor; its first dimension may differ between workers and may be 0. A tensor without dimensions
        counts as one row.
    name
        What messages call this operation.

    Returns
    -------
    torch.Tensor
        A new tensor; differentiable: each worker gets the sum of the gradients at its own rows.

    Raises
    ------
    ValueError
        A tensor that is not contiguous, a name in flight.
    HorovodInternalError
        The workers' calls do not match, or a worker is gone.
    """
    if tensor.requires_grad and torch.is_grad_enabled():
        result: torch.Tensor = _Gather.apply(tensor, name)  # type: ignore[no-untyped-call]
    else:
        result = synchronize(allgather_async(tensor, name))
    return result


def allgather_async(tensor: torch.Tensor, name: str | None = None) -> int:
    """Start `allgather`; return a handle for `poll` and `synchronize`. Not differentiable."""
    return _start_gather(tensor, name)[0]


def broadcast(tensor: torch.Tensor, root_rank: int, name: str | None = None) -> torch.Tensor:
    """Return worker `root_rank`'s tensor, on every worker.

    Parameters
    ----------
    tensor
        A contiguous tensor of the same shape and dtype on every worker.
    root_rank
        Whose values all get.
    name
        What messages call this operation.

    Returns
    -------
    torch.Tensor
        A new tensor; differentiable: the root gets the sum of the gradients, the others get zeros.

    Raises
    ------
    ValueError
        No worker has that rank, a tensor that is not contiguous, a name in flight.
    HorovodInternalError
        The workers' calls do not match, or a worker is gone.
    """
    if tensor.requires_grad and torch.is_grad_enabled():
        result: torch.Tensor = _Broadcast.apply(tensor, root_rank, name)  # type: ignore[no-untyped-call]
    else:
        result = synchronize(broadcast_async(tensor, root_rank, name))
    return result


def broadcast_async(tensor: torch.Tensor, root_rank: int, name: str | None = None) -> int:
    """Start `broadcast`; return a handle. Not differentiable."""
    return _start_broadcast(tensor, tensor.detach().clone(), root_rank, name)


def broadcast_(tensor: torch.Tensor, root_rank: int, name: str | None = None) -> torch.Tensor:
    """Do `broadcast` in place; return the tensor."""
    result: torch.Tensor = synchronize(broadcast_async_(tensor, root_rank, name))
    return result


def broadcast_async_(tensor: torch.Tensor, root_rank: int, name: str | None = None) -> int:
    """Start `broadcast_`; return a handle."""
    return _start_broadcast(tensor, tensor, root_rank, name)


def barrier() -> None:
    """Wait until every worker is here.

    Raises
    ------
    HorovodInternalError
        A worker is gone, called something else, or did not come in time.
    """
    announce(Call("barrier", None, [], {}))


def check_root(root_rank: int) -> None:
    """Refuse a root that is no worker."""
    if not 0 <= root_rank < current().size:
        raise ValueError(f"root_rank must be a worker's rank, 0 to {current().size - 1}; got {root_rank}")


class _Gather(torch.autograd.Function):
    """The differentiable allgather."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, name: str | None) -> torch.Tensor:
        handle, lengths = _start_gather(tensor, name)
        rank = current().rank
        ctx.own, ctx.shape, ctx.name = (sum(lengths[:rank]), lengths[rank]), tensor.shape, name
        result: torch.Tensor = synchronize(handle)
        return result

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        total = allreduce(grad.contiguous(), op=Sum, name=None if ctx.name is None else f"{ctx.name}.grad")
        return total.narrow(0, *ctx.own).reshape(ctx.shape), None


class _Broadcast(torch.autograd.Function):
    """The differentiable broadcast."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, root_rank: int, name: str | None) -> torch.Tensor:
        ctx.root_rank, ctx.name = root_rank, name
        result: torch.Tensor = synchronize(broadcast_async(tensor, root_rank, name))
        return result

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        total = allreduce(grad.contiguous(), op=Sum, name=None if ctx.name is None else f"{ctx.name}.grad")
        return (total if current().rank == ctx.root_rank else torch.zeros_like(total)), None, None


def _start_gather(tensor: torch.Tensor, name: str | None) -> tuple[int, list[int]]:
    """Start an allgather; return its handle and how many rows each worker has."""
    _check_contiguous("allgather", tensor)
    check_name(name)
    own = tensor.detach().reshape(1) if tensor.dim() == 0 else tensor.detach()
    call = describe("allgather", name, [own])
    lengths = [other.tensors[0][1][0] for other in announce(call)]
    longest, group = max(lengths), current().group
    # The engine gathers equal parts only.
    padded = own.new_zeros((longest, *own.shape[1:]))
    padded[: len(own)] = own
    parts = [torch.empty_like(padded) for _ in lengths]

    def launch() -> list[dist.Work | None]:
        if group is None:
            parts[0].copy_(padded)
            return []
        return [dist.all_gather([as_bytes(part) for part in parts], as_bytes(padded), group, async_op=True)]

    def finish() -> torch.Tensor:
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    return start(call, launch, finish), lengths


def _start_broadcast(tensor: torch.Tensor, output: torch.Tensor, root_rank: int, name: str | None) -> int:
    """Start to broadcast `output`, which holds what `tensor` holds, in place."""
    _check_contiguous("broadcast", tensor)
    check_root(root_rank)
    check_name(name)
    call = describe("broadcast", name, [tensor], root_rank=root_rank)
    announce(call)
    group = current().group

    def launch() -> list[dist.Work | None]:
        return [] if group is None else [dist.broadcast(as_bytes(output), root_rank, group, async_op=True)]

    return start(call, launch, lambda: output)


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """View a contiguous tensor as bytes, which the engine moves whatever the dtype."""
    return tensor.detach().reshape(-1).view(torch.uint8)


def _check_contiguous(kind: str, tensor: torch.Tensor) -> None:
    """Refuse a tensor that is not contiguous."""
    if not tensor.is_contiguous():
        raise ValueError(f"{kind} needs a contiguous tensor; got strides {tuple(tensor.stride())}")
