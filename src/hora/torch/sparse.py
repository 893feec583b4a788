"""Averaging sparse gradients, as embeddings make them: the workers' rows are gathered, not their whole tables."""

from __future__ import annotations

import torch
import torch.distributed as dist


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
