"""Reduces the gradients of one optimizer while backward runs, so that whatever reads `.grad` after it sees the mean.

    hook     hook     hook ...          end of backward
    grad 9   grad 8   grad 7            launch what is left, wait for all
       └ bucket 0 full: launch ─────────────┘

Nothing is negotiated on the way: all workers launch the same buckets in one order, whatever order gradients come in.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from hora.torch import engine
from hora.torch.buckets import Bucket, bucket_bytes, layout
from hora.torch.compression import Compression, Compressor
from hora.torch.exceptions import HorovodInternalError
from hora.torch.exchange import agree, exchange
from hora.torch.failure import engine_errors
from hora.torch.reducing import Average, Sum
from hora.torch.sparse import mean_sparse
from hora.torch.world import World, current, new_group

# Which reducer has charge of a parameter: the one of the optimizer that wrapped it last.
_owners: Any = WeakTensorKeyDictionary()

_NOTE_MODULUS = 512


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
    parameters
        What is going to be adopted; where one reducer has charge of just these, its process group is taken over.
    """

    def __init__(self, settings: Settings, window: int, parameters: Sequence[torch.Tensor]) -> None:
        self.window = window
        self._settings = settings
        self._world: World = current()
        self._group = _group_for(parameters, self._world)
        self._lock = threading.RLock()
        # Every parameter has a name and hooks; while it is trained it is in a bucket, or known to be sparse.
        self._names: dict[torch.Tensor, str] = {}
        self._hooks: dict[torch.Tensor, list[RemovableHandle]] = {}
        self._buckets: list[Bucket] = []
        self._bucket_of: dict[torch.Tensor, Bucket] = {}
        self._sparse: dict[torch.Tensor, None] = {}
        self._untrained: dict[torch.Tensor, None] = {}
        self._given_up: dict[torch.Tensor, None] = {}
        # The backward that is running is one of the engine's, and those inside it.
        self._backwards: set[int] = set()
        self._early = False
        self._reentrant = False
        self._launched = 0
        self._passes = 0
        self._reduced = False
        # What the workers must have in common whenever they reduce.
        self._reductions = 0
        self._steps = 0

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
                owner._give_up(parameter)
            _owners[parameter] = self
            self._given_up.pop(parameter, None)
            self._names[parameter] = name
            self._hooks[parameter] = self._install_hooks(parameter)
            if not parameter.requires_grad:
                self._untrained[parameter] = None
            elif sparse:
                self._sparse[parameter] = None
        trained = [parameter for _, parameter in named if parameter.requires_grad and not sparse]
        largest = -(-sum(parameter.nbytes for parameter in trained) // number_of_buckets) if number_of_buckets else 0
        self._add_buckets(trained, largest or bucket_bytes(), groups)

    def strangers(self, named: Iterable[tuple[str, torch.Tensor]]) -> list[tuple[str, torch.Tensor]]:
        """Return those of the optimizer's parameters that this reducer never had charge of."""
        return [pair for pair in named if pair[1] not in self._names and pair[1] not in self._given_up]

    def before_step(self) -> None:
        """Reduce before a step what no backward has reduced since the last one.

        That is a window which is not full, gradients which the script set by hand, and those of other workers whose
        backward reached parameters of this optimizer when this worker's did not.
        """
        with self._lock:
            if self._passes or self._backwards or not self._reduced:
                for parameter in self._set_by_hand() if self._settings.op == Sum else ():
                    parameter.grad = parameter.grad * self._world.size  # type: ignore[operator, assignment]
                self._reduce()

    def begin_step(self) -> None:
        """Note that the gradients at hand are used up."""
        self._reduced = False

    def after_step(self) -> None:
        """Count a step."""
        self._steps += 1
        self.begin_step()

    def close_window(self) -> None:
        """Reduce a window that is not full."""
        with self._lock:
            if self._passes or self._backwards:
                self._reduce()

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Return a number's mean over the workers, or its sum where gradients are summed."""
        value = value.detach().clone()
        with engine_errors("reducing the loss of a closure"):
            dist.all_reduce(value, group=self._group)
        return value / self._world.size if self._settings.op == Average else value

    def _install_hooks(self, parameter: torch.Tensor) -> list[RemovableHandle]:
        """Hook a parameter, also one that is frozen now and may be trained later."""
        frozen = not parameter.requires_grad
        parameter.requires_grad_(True)
        handles = [parameter.register_post_accumulate_grad_hook(self._on_gradient)]  # type: ignore[no-untyped-call]
        if self._settings.op == Sum:
            # Buckets hold means: a gradient that counts N times has the sum as its mean.
            accumulator = torch.autograd.graph.get_gradient_edge(parameter).node
            handles.append(accumulator.register_prehook(self._count_n_times))
        if frozen:
            parameter.requires_grad_(False)
        return handles

    def _count_n_times(self, gradients: tuple[torch.Tensor | None, ...]) -> tuple[torch.Tensor | None, ...]:
        """Multiply gradients by the number of workers."""
        return tuple(gradient if gradient is None else gradient * self._world.size for gradient in gradients)

    def _give_up(self, parameter: torch.Tensor) -> None:
        """Give up a parameter that another reducer takes charge of."""
        for handle in self._hooks.pop(parameter):
            handle.remove()
        del self._names[parameter]
        self._given_up[parameter] = None
        self._sparse.pop(parameter, None)
        self._untrained.pop(parameter, None)
        self._take_out(parameter)

    def _take_out(self, parameter: torch.Tensor) -> None:
        """Make the bucket of a parameter anew, without it."""
        bucket = self._bucket_of.pop(parameter, None)
        if bucket is not None:
            place = next(index for index, other in enumerate(self._buckets) if other is bucket)
            rest = [other for other in bucket.parameters if other is not parameter]
            self._buckets[place : place + 1] = [self._make_bucket(rest)] if rest else []

    def _add_buckets(
        self, parameters: Sequence[torch.Tensor], largest: int, groups: Sequence[Sequence[torch.Tensor]] = ()
    ) -> None:
        """Make the buckets of parameters, laid out as worker 0 says."""
        rows = exchange(json.dumps(layout(parameters, largest, groups)).encode(), "DistributedOptimizer", self._group)
        for indices in json.loads(rows[0]):
            self._buckets.append(self._make_bucket([parameters[index] for index in indices]))

    def _make_bucket(self, parameters: Sequence[torch.Tensor]) -> Bucket:
        """Make a bucket and note who is in it."""
        named = [(self._names[parameter], parameter) for parameter in parameters]
        bucket = Bucket(named, sparse_as_dense=self._settings.sparse_as_dense)
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
            self._follow_world()
            self._early = not self._reentrant and self._passes + 1 >= self.window and self._world.size > 1
            for bucket in self._buckets:
                bucket.pending = sum(parameter.requires_grad for parameter in bucket.parameters)
        self._watch_end()

    def _follow_world(self) -> None:
        """Go over to the world of a later `init()`."""
        world = current()
        if world is not self._world:
            self._world = world
            self._reductions = self._steps = 0
            if world.size > 1:
                self._group = new_group()

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
                # What goes on outside may add to gradients that are on their way.
                self._reentrant, self._early = True, False
                self._finish_launched()
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
        self._reduced = True
        self._follow_world()
        if self._world.size == 1:
            return
        self._launch_rest()
        self._finish_launched()
        self._check_notes()
        self._reductions += 1
        fresh = self._newly_trained()
        if fresh:
            for parameter in fresh:
                del self._untrained[parameter]
            self._launched = len(self._buckets)
            self._add_buckets(fresh, bucket_bytes())
            self._launch_rest()
            self._finish_launched()
        for parameter in self._sparse:
            with engine_errors(f"reducing the sparse gradient of {self._names[parameter]}"):
                parameter.grad = mean_sparse(parameter.grad, parameter, self._group, self._world.size)

    def _newly_trained(self) -> list[torch.Tensor]:
        """List the parameters that were frozen when the buckets were made, and are trained now."""
        return [parameter for parameter in self._untrained if parameter.requires_grad]

    def _launch_rest(self) -> None:
        """Start to reduce the buckets that no hook has launched."""
        while self._launched < len(self._buckets):
            self._launch_next()

    def _launch_next(self) -> None:
        """Start to reduce the bucket whose turn it is."""
        bucket = self._buckets[self._launched]
        self._launched += 1
        bucket.notes = self._notes()
        with engine_errors(bucket):
            bucket.launch(self._group, self._prescale, self._settings.compression)

    def _finish_launched(self) -> None:
        """Wait for the buckets that were launched; parameters whose gradients prove sparse leave their bucket."""
        launched, self._launched = self._buckets[: self._launched], 0
        for bucket in launched:
            with engine_errors(bucket):
                sparse = bucket.finish(self._postscale)
            for parameter in sparse:
                self._sparse[parameter] = None
                self._take_out(parameter)

    def _notes(self) -> tuple[float, ...]:
        """Return what the workers must have in common whenever they reduce."""
        return self._reductions % _NOTE_MODULUS, self._steps % _NOTE_MODULUS, len(self._newly_trained())

    def _check_notes(self) -> None:
        """Raise where the workers are at different places of their scripts, or train different parameters.

        Looked at where it costs nothing: a device would have to be waited for, so that only newly trained parameters
        are worth it there, and a dtype of few digits cannot tell.
        """
        fresh = self._newly_trained()
        for bucket in self._buckets[-1:]:
            exact = bucket.exact and self._settings.compression is Compression.none
            if not (fresh or (exact and bucket.device.type == "cpu")):
                continue
            off = [
                abs(mean - own) > 0.4 / self._world.size
                for mean, own in zip(bucket.mean_notes(), self._notes(), strict=True)
            ]
            if exact and any(off[:2]):
                raise HorovodInternalError(
                    f"worker {self._world.rank}: the loops of the workers have come apart: this one is at step "
                    f"{self._steps + 1} and backward {self._reductions + 1} of its optimizer, and another is not"
                )
            if off[2]:
                names = ", ".join(self._names[parameter] for parameter in fresh)
                raise HorovodInternalError(
                    f"worker {self._world.rank}: the workers train different parameters: {names or 'none'} became "
                    "trainable here, but not on all"
                )

    def _set_by_hand(self) -> list[torch.Tensor]:
        """List the parameters whose gradient was never in a bucket."""
        return [parameter for bucket in self._buckets for parameter in bucket.set_by_hand()]

    @property
    def _prescale(self) -> float:
        """What a worker's gradients are multiplied with before they are summed."""
        return 1 / (self._world.size if self._settings.predivide == 1.0 else self._settings.predivide)

    @property
    def _postscale(self) -> float:
        """What the sum is multiplied with; with `_prescale` it makes the mean."""
        return 1 / (self._world.size * self._prescale)


def _group_for(parameters: Sequence[torch.Tensor], world: World) -> dist.ProcessGroup:
    """Return the process group of the reducer that has charge of just these parameters, or a new one.

    A script that makes a new optimizer for each phase would else collect process groups.
    """
    named = {id(parameter) for parameter in parameters}
    owners = {id(owner): owner for owner in map(_owners.get, parameters)}
    owner: Reducer | None = next(iter(owners.values()))
    if len(owners) == 1 and owner is not None and owner._world is world and named == set(map(id, owner._names)):
        return owner._group
    return new_group()


def _describe(name: str, parameter: torch.Tensor) -> str:
    """Describe what must be alike on all workers."""
    dtype = str(parameter.dtype).removeprefix("torch.")
    return f"{name}: {dtype} {list(parameter.shape)}{'' if parameter.requires_grad else ', frozen'}"
