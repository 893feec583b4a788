"""broadcast, in all of Horovod's forms, and barrier."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from hora.torch.calls import Call, describe
from hora.torch.gathering import as_bytes, check_contiguous
from hora.torch.handles import Calls, Works, ask, start, synchronize
from hora.torch.process_sets import ProcessSet, global_process_set, members_of
from hora.torch.reducing import allreduce
from hora.torch.wire import Average
from hora.torch.world import Members, current


def broadcast(
    tensor: torch.Tensor, root_rank: int, name: str | None = None, process_set: ProcessSet = global_process_set
) -> torch.Tensor:
    """Return worker `root_rank`'s tensor, on every worker.

    Parameters
    ----------
    tensor
        A contiguous tensor of the same shape and dtype on every worker.
    root_rank
        Whose values all get: its rank in the world.
    name
        What the workers find each other's calls by, in any order; by default the order of the calls decides.
    process_set
        Who takes part.

    Returns
    -------
    torch.Tensor
        A new tensor; differentiable: the root gets the workers' mean gradient, as in Horovod, the others get zeros.

    Raises
    ------
    ValueError
        No worker of the set has that rank, a tensor that is not contiguous, a name in flight.
    HorovodInternalError
        The workers' calls do not match, or a worker is gone.
    """
    if tensor.requires_grad and torch.is_grad_enabled():
        result: torch.Tensor = _Broadcast.apply(tensor, root_rank, name, process_set)  # type: ignore[no-untyped-call]
    else:
        result = synchronize(broadcast_async(tensor, root_rank, name, process_set))
    return result


def broadcast_async(
    tensor: torch.Tensor, root_rank: int, name: str | None = None, process_set: ProcessSet = global_process_set
) -> int:
    """Start `broadcast`; return a handle. Not differentiable."""
    return _start(tensor, tensor.detach().clone(), root_rank, name, process_set)


def broadcast_(
    tensor: torch.Tensor, root_rank: int, name: str | None = None, process_set: ProcessSet = global_process_set
) -> torch.Tensor:
    """Do `broadcast` in place; return the tensor."""
    result: torch.Tensor = synchronize(broadcast_async_(tensor, root_rank, name, process_set))
    return result


def broadcast_async_(
    tensor: torch.Tensor, root_rank: int, name: str | None = None, process_set: ProcessSet = global_process_set
) -> int:
    """Start `broadcast_`; return a handle."""
    return _start(tensor, tensor, root_rank, name, process_set)


def barrier(process_set: ProcessSet = global_process_set) -> None:
    """Wait until every worker of a set is here.

    Raises
    ------
    HorovodInternalError
        A worker is gone, called something else, or did not come in time.
    """
    ask(Call("barrier", None, [], {}), members_of(process_set))


def check_root(root_rank: int, members: Members) -> None:
    """Refuse a root that is no worker of a set."""
    if root_rank not in members.ranks:
        ranks = ", ".join(map(str, members.ranks))
        raise ValueError(f"root_rank must be the rank of a worker of the process set ({ranks}); got {root_rank}")


class _Broadcast(torch.autograd.Function):
    """The differentiable broadcast."""

    @staticmethod
    def forward(
        ctx: Any, tensor: torch.Tensor, root_rank: int, name: str | None, process_set: ProcessSet
    ) -> torch.Tensor:
        ctx.root_rank, ctx.name, ctx.process_set = root_rank, name, process_set
        result: torch.Tensor = synchronize(broadcast_async(tensor, root_rank, name, process_set))
        return result

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        name = None if ctx.name is None else f"{ctx.name}.grad"
        mean = allreduce(grad.contiguous(), op=Average, name=name, process_set=ctx.process_set)
        return (mean if current().rank == ctx.root_rank else torch.zeros_like(mean)), None, None, None


def _start(
    tensor: torch.Tensor, output: torch.Tensor, root_rank: int, name: str | None, process_set: ProcessSet
) -> int:
    """Start to broadcast `output`, which holds what `tensor` holds, in place."""
    members = members_of(process_set)
    check_contiguous("broadcast", tensor)
    check_root(root_rank, members)

    def launch(_: Calls) -> Works:
        if members.group is None or not output.numel():
            return []
        return [dist.broadcast(as_bytes(output), root_rank, members.group, async_op=True)]

    return start(describe("broadcast", name, [tensor], root_rank=root_rank), launch, lambda _: output, members)
