"""Averaging sparse tensors, as embeddings make them: the workers' rows are gathered, not their whole tables."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist

from hora.torch.gathering import grouped_allgather_async
from hora.torch.handles import synchronize
from hora.torch.process_sets import ProcessSet, global_process_set, members_of
from hora.torch.wire import OP_NAMES, Average, Sum


def sparse_allreduce_async(
    tensor: torch.Tensor, name: str | None, op: int = Average, process_set: ProcessSet = global_process_set
) -> Callable[[], torch.Tensor]:
    """Start to reduce a sparse tensor over all workers; return what waits and gives the result.

    Parameters
    ----------
    tensor
        A sparse COO tensor of the same shape and dtype on every worker.
    name
        What the workers find each other's calls by, in any order; by default the order of the calls decides.
    op
        Average or Sum.
    process_set
        Whose tensors are reduced.

    Returns
    -------
    callable
        Takes nothing; returns a coalesced sparse tensor, alike on all workers.

    Raises
    ------
    ValueError
        Another op, a tensor that is not sparse, a name in flight.
    HorovodInternalError
        The workers' calls do not match, or a worker is gone.
    """
    if op not in (Average, Sum):
        raise ValueError(f"sparse_allreduce_async needs op=hvd.Average or hvd.Sum; got {OP_NAMES.get(op, op)}")
    if tensor.layout != torch.sparse_coo:
        raise ValueError(f"sparse_allreduce_async needs a sparse COO tensor; got one of layout {tensor.layout}")
    own = tensor.detach().coalesce()
    handle = grouped_allgather_async([own.indices().t().contiguous(), own.values()], name, process_set)
    divisor = members_of(process_set).size if op == Average else 1

    def finish() -> torch.Tensor:
        indices, values = synchronize(handle)
        return torch.sparse_coo_tensor(indices.t(), values / divisor, tensor.shape).coalesce()

    return finish


def mean_sparse(
    gradient: torch.Tensor | None, parameter: torch.Tensor, group: dist.ProcessGroup, size: int
) -> torch.Tensor | None:
    """Average a sparse gradient over the workers.

    Parameters
    ----------
    gradient
        This worker's gradient; None where it has none.
    parameter
        What it is the gradient of.
    group, size
        The process group, and how many workers it has.

    Returns
    -------
    torch.Tensor or None
        The mean as a coalesced sparse tensor, alike on all workers; None where no worker has a gradient.
    """
    none = gradient is None
    if gradient is None:
        shape = parameter.shape
        gradient = torch.sparse_coo_tensor(
            torch.empty((1, 0), dtype=torch.int64, device=parameter.device),
            torch.empty((0, *shape[1:]), dtype=parameter.dtype, device=parameter.device),
            shape,
        )
    gradient = gradient.detach().coalesce()
    own = torch.tensor([-1 if none else gradient._nnz()], device=parameter.device)
    counts = [torch.empty_like(own) for _ in range(size)]
    dist.all_gather(counts, own, group=group)
    lengths = [int(count) for count in counts]
    if max(lengths) < 0:
        return None
    lengths = [max(length, 0) for length in lengths]
    rows = _gather(gradient.indices().t().contiguous(), lengths, group)
    values = _gather(gradient.values(), lengths, group)
    return torch.sparse_coo_tensor(rows.t(), values / size, gradient.shape).coalesce()


def _gather(rows: torch.Tensor, lengths: list[int], group: dist.ProcessGroup) -> torch.Tensor:
    """Concatenate the workers' rows, of which each has another number."""
    padded = rows.new_zeros((max(lengths), *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded, group=group)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])
