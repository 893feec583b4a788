"""alltoall: each worker sends the others some of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from hora.torch.calls import describe
from hora.torch.gathering import as_bytes, check_contiguous
from hora.torch.handles import Calls, Works, start, synchronize
from hora.torch.process_sets import ProcessSet, global_process_set, members_of

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
        row = row_bytes(source)
        return exchange(outputs[0], source, [n * row for n in received], [n * row for n in counts], members.group)

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


def row_bytes(tensor: torch.Tensor) -> int:
    """Return how many bytes one row has."""
    return tensor.element_size() * torch.empty(tensor.shape[1:], device="meta").numel()


def exchange(
    output: torch.Tensor, source: torch.Tensor, into: Sequence[int], out_of: Sequence[int], group: dist.ProcessGroup
) -> list[dist.Work | None]:
    """Hand an exchange of so many bytes with each worker to the engine."""
    return [dist.all_to_all_single(as_bytes(output), as_bytes(source), list(into), list(out_of), group, async_op=True)]
