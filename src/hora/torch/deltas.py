"""`DistributedOptimizer(op=hvd.Adasum)`: each worker steps by itself, and the workers' steps are combined.

As in Horovod it is the change of the weights that Adasum combines, not the gradients: momentum and Adam's second
moments are each worker's own. One combination for each `step()`, however many backwards came before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from hora.torch import heartbeat
from hora.torch.compression import Compressor
from hora.torch.exchange import agree, exchange
from hora.torch.layout import DEFAULT_BYTES, cut_by_size
from hora.torch.process_sets import ProcessSet, members_of
from hora.torch.reducing import grouped_allreduce
from hora.torch.wire import Adasum

_numbers = itertools.count()


class Deltas:
    """Combines what the workers' steps change in the weights of one optimizer.

    Parameters
    ----------
    named
        The parameters with their names, in the same order on every worker.
    compression
        How the changes travel.
    process_set
        The workers; this one is among them.

    Raises
    ------
    HorovodInternalError
        The workers' parameters differ; on every worker alike.
    """

    def __init__(
        self, named: Sequence[tuple[str, torch.Tensor]], compression: type[Compressor], process_set: ProcessSet
    ) -> None:
        rows = [f"{name}: {str(p.dtype).removeprefix('torch.')} {list(p.shape)}" for name, p in named]
        members = members_of(process_set)
        agree(rows, "DistributedOptimizer", members)
        [number, *_] = exchange(str(next(_numbers)).encode(), "DistributedOptimizer", members)
        self._name = f"the step of DistributedOptimizer {number.decode()}"
        self._compression = compression
        self._process_set = process_set
        self._start: list[tuple[torch.Tensor, torch.Tensor]] = []
        # A step may call another: `super().step()` runs the hooks again.
        self._depth = 0

    @torch.no_grad()
    def before_step(self, optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        """Remember the weights."""
        self._depth += 1
        if self._depth == 1:
            self._start = [
                (parameter, parameter.detach().clone())
                for group in optimizer.param_groups
                for parameter in group["params"]
                if parameter.is_floating_point()
            ]

    @torch.no_grad()
    def after_step(self, _optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        """Replace this worker's change of the weights by what all workers' changes come to."""
        self._depth -= 1
        if self._depth:
            return
        start, self._start = self._start, []
        for number, places in enumerate(cut_by_size([before for _, before in start], DEFAULT_BYTES)):
            changes = [(start[place][0] - start[place][1]).contiguous() for place in places]
            combined = grouped_allreduce(
                changes,
                name=f"{self._name}, part {number}",
                compression=self._compression,
                op=Adasum,
                process_set=self._process_set,
            )
            for place, change in zip(places, combined, strict=True):
                parameter, before = start[place]
                parameter.copy_(before + change)
        heartbeat.stepped(id(self))
