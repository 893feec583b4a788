"""Reduces the gradients of one optimizer while backward runs, so that whatever reads `.grad` after it sees the mean.

    hook     hook     hook ...          end of backward
    grad 9   grad 8   grad 7            launch what is left, wait for all
       └ bucket 0 full: launch ─────────────┘

Nothing is negotiated on the way: all workers launch the same buckets in one order, whatever order gradients come in.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from hora.errors import HoraError
from hora.torch import engine
from hora.torch.buckets import Bucket, layout
from hora.torch.compression import Compression, Compressor
from hora.torch.exceptions import HorovodInternalError
from hora.torch.exchange import agree, exchange
from hora.torch.reducing import Average, Sum
from hora.torch.sparse import mean_sparse
from hora.torch.world import World, current, new_group

# Which reducer has charge of a parameter: the one of the optimizer that wrapped it last.
_owners: Any = WeakTensorKeyDictionary()


@dataclass(frozen=True)
class Settings:
    """How a reducer reduces.

    Attributes
    ----------
    op
        Average or Sum.
    compression
        How gradients travel.
    predivide
        Horovod's `gradient_predivide_factor`.
    sparse_as_dense
        Whether sparse gradients are made dense.
    """

    op: int = Average
    compression: type[Compressor] = Compression.none
    predivide: float = 1.0
    sparse_as_dense: bool = False


class Reducer:
    """The gradients of some parameters, and when they are reduced.

    Parameters
    ----------
    settings
        How to reduce.
    window
        How many backwards are summed on each worker before they are reduced.
    """

    def __init__(self, settings: Settings, window: int) -> None:
        self.window = window
        self._settings = settings
        self._names: dict[torch.Tensor, str] = {}
        self._hooks: dict[torch.Tensor, list[RemovableHandle]] = {}
        self._buckets: list[Bucket] = []
        self._bucket_of: dict[torch.Tensor, Bucket] = {}
        self._sparse: dict[torch.Tensor, None] = {}
        self._untrained: dict[torch.Tensor, None] = {}
        self._lock = threading.RLock()
        self._backwards: set[int] = set()
        self._passes = 0
        self._launched = 0
        self._early = False
        self._reentrant = False
        self._world: World = current()
        self._group = new_group()

    def adopt(
        self,
        named: Sequence[tuple[str, torch.Tensor]],
        *,
        groups: Sequence[Sequence[torch.Tensor]] = (),
        number_of_buckets: int = 0,
        sparse: bool = False,
    ) -> None:
        """Take charge of parameters, on all workers at once; who had charge of them before gives them up.

        Parameters
        ----------
        named
            The parameters with their names, in the same order on every worker.
        groups
            Parameters that share a bucket, a list for each bucket; the others are cut by size.
        number_of_buckets
            How many buckets to cut the others into; 0 makes them HORA_BUCKET_MB large.
        sparse
            Whether the gradients are known to be sparse.

        Raises
        ------
        HorovodInternalError
            The workers' parameters differ; on every worker alike.
        """
        agree([_describe(name, parameter) for name, parameter in named], "DistributedOptimizer", self._group)
        for name, parameter in named:
            owner: Reducer | None = _owners.get(parameter)
            if owner is not None:
                owner._release(parameter)
            _owners[parameter] = self
            self._names[parameter] = name
            self._hooks[parameter] = self._install_hooks(parameter)
        trained = [parameter for _, parameter in named if parameter.requires_grad]
        if sparse:
            self._sparse.update(dict.fromkeys(trained))
        else:
            self._add_buckets(trained, groups, number_of_buckets)
        self._untrained.update((parameter, None) for _, parameter in named if not parameter.requires_grad)

    def close_window(self) -> None:
        """Reduce what has been summed here since the last time; nothing where every backward was reduced."""
        with self._lock:
            if self._passes or self._backwards:
                self._reduce()

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Return a number's mean over the workers, or its sum where gradients are summed."""
        value = value.detach().clone()
        with self._naming("the loss of a closure"):
            dist.all_reduce(value, group=self._group)
        return value / self._world.size if self._settings.op == Average else value

    def _install_hooks(self, parameter: torch.Tensor) -> list[RemovableHandle]:
        """Hook a parameter, also one that is frozen now and may be trained later."""
        frozen = not parameter.requires_grad
        parameter.requires_grad_(True)
        handles = [parameter.register_post_accumulate_grad_hook(self._on_gradient)]  # type: ignore[no-untyped-call]
        if self._settings.op == Sum:
            # Buckets hold means: a gradient that counts N times has the sum as its mean.
            size = self._world.size
            accumulator = torch.autograd.graph.get_gradient_edge(parameter).node
            handles.append(
                accumulator.register_prehook(lambda gradients: tuple(g if g is None else g * size for g in gradients))
            )
        if frozen:
            parameter.requires_grad_(False)
        return handles

    def _release(self, parameter: torch.Tensor) -> None:
        """Give up a parameter that another reducer takes charge of."""
        for handle in self._hooks.pop(parameter):
            handle.remove()
        del self._names[parameter]
        self._sparse.pop(parameter, None)
        self._untrained.pop(parameter, None)
        self._take_out(parameter)

    def _take_out(self, parameter: torch.Tensor) -> None:
        """Make the bucket of a parameter anew, without it."""
        bucket = self._bucket_of.pop(parameter, None)
        if bucket is None:
            return
        place = next(index for index, other in enumerate(self._buckets) if other is bucket)
        rest = [other for other in bucket.parameters if other is not parameter]
        self._buckets[place : place + 1] = [self._make_bucket(rest)] if rest else []

    def _add_buckets(
        self, parameters: Sequence[torch.Tensor], groups: Sequence[Sequence[torch.Tensor]] = (), number: int = 0
    ) -> None:
        """Make the buckets of parameters, laid out as worker 0 says."""
        own = layout(parameters, _bucket_bytes(parameters, number), groups)
        rows = exchange(json.dumps(own).encode(), "DistributedOptimizer", self._group)
        for indices in json.loads(rows[0]):
            self._buckets.append(self._make_bucket([parameters[index] for index in indices]))

    def _make_bucket(self, parameters: Sequence[torch.Tensor]) -> Bucket:
        """Make a bucket and note who is in it."""
        bucket = Bucket(parameters, sparse_as_dense=self._settings.sparse_as_dense)
        self._bucket_of.update(dict.fromkeys(parameters, bucket))
        return bucket

    def _on_gradient(self, parameter: torch.Tensor) -> None:
        """Note that a gradient is there; launch the buckets that are full and whose turn it is."""
        with self._lock:
            if engine.current_backward() not in self._backwards:
                self._on_new_backward()
            bucket = self._bucket_of.get(parameter)
            if bucket is not None:
                bucket.pending -= 1
            if self._early:
                while self._launched < len(self._buckets) and self._buckets[self._launched].pending <= 0:
                    self._launch_next()

    def _on_new_backward(self) -> None:
        """Begin a backward, or go on with one that runs inside another or was cut short by an error."""
        if self._backwards:
            self._early = False
            self._finish_launched()
        else:
            self._early = not self._reentrant and self._passes + 1 >= self.window
            for bucket in self._buckets:
                bucket.pending = sum(parameter.requires_grad for parameter in bucket.parameters)
        self._watch_end()

    def _watch_end(self) -> None:
        """Ask to be called back at the end of the backward that is running."""
        number = engine.current_backward()
        if number not in self._backwards:
            self._backwards.add(number)
            engine.at_end_of_backward(self._on_end)

    def _on_end(self) -> None:
        """Reduce at the end of a backward; where it ran inside another, at the end of that one."""
        with self._lock:
            node = engine.enclosing_node()
            if node is not None:
                self._reentrant = True
                engine.after_node(node, self._watch_end)
            elif self._backwards:
                self._backwards.clear()
                self._passes += 1
                if self._passes >= self.window:
                    self._reduce()

    def _reduce(self) -> None:
        """Reduce all gradients, and wait."""
        self._backwards.clear()
        self._passes = 0
        fresh = self._newly_trained()
        while self._launched < len(self._buckets):
            self._launch_next()
        self._finish_launched()
        if fresh:
            self._check_all_train(fresh)
            for parameter in fresh:
                del self._untrained[parameter]
            self._launched = len(self._buckets)
            self._add_buckets(fresh)
            while self._launched < len(self._buckets):
                self._launch_next()
            self._finish_launched()
        for parameter in self._sparse:
            with self._naming(f"the sparse gradient of {self._names[parameter]}"):
                parameter.grad = mean_sparse(parameter.grad, parameter, self._group, self._world.size)

    def _newly_trained(self) -> list[torch.Tensor]:
        """List the parameters that were frozen when the buckets were made, and are trained now."""
        return [parameter for parameter in self._untrained if parameter.requires_grad]

    def _check_all_train(self, fresh: Sequence[torch.Tensor]) -> None:
        """Raise where another worker trains other parameters than this one."""
        if self._buckets and round(self._buckets[-1].mean_note() * self._world.size) != len(fresh) * self._world.size:
            names = ", ".join(self._names[parameter] for parameter in fresh)
            raise HorovodInternalError(
                f"worker {self._world.rank}: {names}: trained from now on by this worker, but not by all"
            )

    def _launch_next(self) -> None:
        """Start to reduce the bucket whose turn it is."""
        bucket = self._buckets[self._launched]
        self._launched += 1
        if self._launched == len(self._buckets) and self._untrained:
            bucket.note = float(len(self._newly_trained()))
        with self._naming(bucket):
            bucket.launch(self._group, self._prescale, self._settings.compression)

    def _finish_launched(self) -> None:
        """Wait for the buckets that were launched; parameters whose gradients prove sparse leave their bucket."""
        launched, self._launched = self._buckets[: self._launched], 0
        for bucket in launched:
            with self._naming(bucket):
                sparse = bucket.finish(self._postscale)
            for parameter in sparse:
                self._sparse[parameter] = None
                self._take_out(parameter)

    @property
    def _prescale(self) -> float:
        """What a worker's gradients are multiplied with before they are summed."""
        return 1 / (self._world.size if self._settings.predivide == 1.0 else self._settings.predivide)

    @property
    def _postscale(self) -> float:
        """What the sum is multiplied with; with `_prescale` it makes the mean."""
        return 1 / (self._world.size * self._prescale)

    @contextmanager
    def _naming(self, what: Bucket | str) -> Iterator[None]:
        """Say what was being reduced when the engine failed."""
        try:
            yield
        except HorovodInternalError:
            raise
        except RuntimeError as error:
            if isinstance(what, Bucket):
                what = "the gradients of " + ", ".join(self._names[parameter] for parameter in what.parameters)
            raise HorovodInternalError(f"worker {self._world.rank}: reducing {what} failed: {error}") from error


def _describe(name: str, parameter: torch.Tensor) -> str:
    """Describe what must be alike on all workers."""
    dtype = str(parameter.dtype).removeprefix("torch.")
    return f"{name}: {dtype} {list(parameter.shape)}{'' if parameter.requires_grad else ', frozen'}"


def _bucket_bytes(parameters: Sequence[torch.Tensor], number: int) -> int:
    """Return how large a bucket grows: as `number` of them need, or HORA_BUCKET_MB, 4 by default."""
    if number:
        return -(-sum(parameter.nbytes for parameter in parameters) // number)
    text = os.environ.get("HORA_BUCKET_MB", "4")
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if size <= 0:
        raise HoraError("HORA_BUCKET_MB", f"found {text!r}, which is no size", "Set it to 4, say")
    return int(size * 2**20)
