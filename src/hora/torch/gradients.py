"""Where the gradients of an optimizer's parameters live: their names, their hooks, and the buckets they are in."""

from __future__ import annotations

import json
import math
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch.autograd.graph import Node, get_gradient_edge
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from hora.torch.buckets import Bucket
from hora.torch.exchange import agree, exchange
from hora.torch.failure import engine_errors
from hora.torch.hooks import remove_all, weakly
from hora.torch.layout import DEFAULT_BYTES, cut_as_measured, cut_by_size, fixed_bytes
from hora.torch.probe import known_cost, measure_cost
from hora.torch.process_sets import ProcessSet, global_process_set, members_of
from hora.torch.world import Members, is_initialized, new_group

Named = Sequence[tuple[str, torch.Tensor]]

# Gradients of no more bytes are reduced together.
_ONE_BUCKET_BYTES = 2**20

# Who has charge of a parameter: the optimizer that wrapped it last. Held weakly, as it holds the parameter itself.
_charge: Any = WeakTensorKeyDictionary()


class Gradients:
    """The gradients of the parameters that one optimizer has charge of.

    Parameters
    ----------
    parameters
        What is going to be adopted.
    on_gradient
        Called with a parameter when a backward has made its gradient.
    before_gradient
        Called before a backward adds to a gradient, if given.
    summed
        Whether gradients are to be summed. Buckets hold means; a gradient that counts N times has the sum as its mean.
    sparse_as_dense
        Whether sparse gradients are made dense.
    process_set
        The workers; this one is among them.

    Attributes
    ----------
    members, group
        The workers, and the process group that carries these gradients and nothing else.
    buckets
        The buckets, in the order in which they are reduced.
    sparse
        The parameters whose gradients are sparse, and in no bucket.
    """

    def __init__(
        self,
        parameters: Sequence[torch.Tensor],
        on_gradient: Callable[[torch.Tensor], None],
        *,
        before_gradient: Callable[[], None] | None,
        summed: bool,
        sparse_as_dense: bool,
        process_set: ProcessSet = global_process_set,
    ) -> None:
        self._process_set = process_set
        self.members: Members = members_of(process_set)
        self.group = self._predecessors_group(parameters) or self._new_group()
        self.buckets: list[Bucket] = []
        self.sparse: dict[torch.Tensor, None] = {}
        self._on_gradient = on_gradient
        self._before_gradient = before_gradient
        self._summed = summed
        self._sparse_as_dense = sparse_as_dense
        self._names: dict[torch.Tensor, str] = {}
        # By the parameter's id: what is held to the end must not hold the parameter.
        self._hooks: dict[int, list[RemovableHandle]] = {}
        weakref.finalize(self, remove_all, self._hooks).atexit = False
        # The engine drops these, and the hooks on them, when nobody holds them.
        self._accumulators: dict[torch.Tensor, Node] = {}
        # By the parameter's id: a tensor takes long to hash.
        self._bucket_of: dict[int, Bucket] = {}
        self._untrained: dict[torch.Tensor, None] = {}
        self._given_up: dict[torch.Tensor, None] = {}
        self._cut_by_script = False

    def adopt(
        self,
        named: Named,
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
            How many buckets to cut the others into; 0 leaves it to their size.
        sparse
            Whether the gradients are known to be sparse.

        Raises
        ------
        HorovodInternalError
            The workers' parameters differ; on every worker alike.
        """
        agree(
            [_describe(name, parameter) for name, parameter in named], "DistributedOptimizer", self.members, self.group
        )
        for name, parameter in named:
            before = _in_charge(parameter)
            if before is not None:
                before._give_up(parameter)
            _charge[parameter] = weakref.ref(self)
            self._given_up.pop(parameter, None)
            self._names[parameter] = name
            self._install_hooks(parameter)
            if not parameter.requires_grad:
                self._untrained[parameter] = None
            elif sparse:
                self.sparse[parameter] = None
        trained = [parameter for _, parameter in named if parameter.requires_grad and not sparse]
        self._cut_by_script |= bool(groups) or number_of_buckets > 0
        largest = fixed_bytes() or DEFAULT_BYTES
        if number_of_buckets:
            largest = max(1, -(-sum(parameter.nbytes for parameter in trained) // number_of_buckets))
        # Backward makes the last ones' gradients first, as far as one can tell before it.
        trained.reverse()
        self._add_buckets(trained, cut_by_size(trained, largest, groups))

    def adopt_newly_trained(self) -> None:
        """Make buckets for the parameters that were frozen when they were adopted and are trained now."""
        fresh = self.newly_trained()
        for parameter in fresh:
            del self._untrained[parameter]
        self._add_buckets(fresh, cut_by_size(fresh, fixed_bytes() or DEFAULT_BYTES))

    def rearrange(self, arrivals: Mapping[torch.Tensor, float]) -> None:
        """Make the buckets anew, on all workers at once: in the order in which gradients come, as worker 0 saw it.

        Parameters
        ----------
        arrivals
            When this worker's gradients came, in seconds. Those that never came are put last.
        """
        parameters = [parameter for bucket in self.buckets for parameter in bucket.parameters]
        if not parameters or not is_initialized() or members_of(self._process_set) is not self.members:
            return
        on_cpu = all(bucket.device.type == "cpu" for bucket in self.buckets)
        small = sum(parameter.nbytes for parameter in parameters) <= _ONE_BUCKET_BYTES
        # What an accelerator does, the host cannot time without waiting for it.
        largest = fixed_bytes() or (DEFAULT_BYTES if small or not on_cpu else None)
        wish = "keep" if self._cut_by_script else "cut" if largest or known_cost(self.members) else "measure"
        # Not by this optimizer's group: where loops have come apart, another worker may be reducing with it.
        [said, *_] = exchange(wish.encode(), "making the buckets of DistributedOptimizer anew", self.members)
        if said == b"keep":
            return
        cost = measure_cost(self.members, self.group) if said == b"measure" else known_cost(self.members)
        order = sorted(range(len(parameters)), key=lambda place: arrivals.get(parameters[place], math.inf))
        last = max(arrivals.values(), default=0.0)
        times = [arrivals.get(parameters[place], last) for place in order]
        cut = cut_as_measured([parameters[p] for p in order], [time - times[0] for time in times], cost, largest)
        self.buckets = []
        self._add_buckets(parameters, [[order[place] for place in bucket] for bucket in cut])

    def newly_trained(self) -> list[torch.Tensor]:
        """List the parameters that were frozen when they were adopted and are trained now."""
        return [parameter for parameter in self._untrained if parameter.requires_grad]

    def knows(self, parameter: torch.Tensor) -> bool:
        """Return whether this optimizer has charge of a parameter, or had."""
        return parameter in self._names or parameter in self._given_up

    def blank(self) -> bool:
        """Return whether no trained parameter has a gradient other than zero."""
        held = (parameter.grad for parameter in self._names if parameter.requires_grad)
        return not any(gradient is not None and bool(gradient.to_dense().any()) for gradient in held)

    def follow_world(self) -> bool:
        """Go over to the world of a later `init()`; return whether there is one."""
        members = members_of(self._process_set)
        if members is self.members:
            return False
        self.members = members
        if members.size > 1:
            self.group = self._new_group()
        return True

    @property
    def active(self) -> bool:
        """Whether there is anything to reduce, with the workers of the present world."""
        here = is_initialized() and members_of(self._process_set) is self.members and self.members.size > 1
        return here and bool(self.buckets or self.sparse)

    def bucket_of(self, parameter: torch.Tensor) -> Bucket | None:
        """Return the bucket of a parameter, if it is in one."""
        return self._bucket_of.get(id(parameter))

    def name(self, parameter: torch.Tensor) -> str:
        """Return the name of a parameter."""
        return self._names[parameter]

    def name_or(self, parameter: torch.Tensor, default: str) -> str:
        """Return the name of a parameter, or a default where it has none."""
        return self._names.get(parameter, default)

    def move_to_sparse(self, parameter: torch.Tensor) -> None:
        """Take a parameter whose gradient proves sparse out of its bucket."""
        self._take_out(parameter)
        self.sparse[parameter] = None

    def _install_hooks(self, parameter: torch.Tensor) -> None:
        """Hook a parameter, also one that is frozen now and may be trained later."""
        frozen = not parameter.requires_grad
        if not (parameter.is_floating_point() or parameter.is_complex()):
            # Whole numbers never have a gradient.
            return
        parameter.requires_grad_(True)
        hook = weakly(self._on_gradient)
        handles = [parameter.register_post_accumulate_grad_hook(hook)]  # type: ignore[no-untyped-call]
        if self._summed or self._before_gradient is not None:
            self._accumulators[parameter] = get_gradient_edge(parameter).node
            handles.append(self._accumulators[parameter].register_prehook(weakly(self._on_accumulation)))
        self._hooks[id(parameter)] = handles
        if frozen:
            parameter.requires_grad_(False)

    def _on_accumulation(self, gradients: tuple[torch.Tensor | None, ...]) -> tuple[torch.Tensor | None, ...]:
        """Multiply what is to be summed by the number of workers."""
        if self._before_gradient is not None:
            self._before_gradient()
        factor = self.members.size if self._summed else 1
        return tuple(gradient if gradient is None or factor == 1 else gradient * factor for gradient in gradients)

    def _give_up(self, parameter: torch.Tensor) -> None:
        """Give up a parameter that another optimizer takes charge of."""
        for handle in self._hooks.pop(id(parameter), ()):
            handle.remove()
        self._take_out(parameter)
        self._given_up[parameter] = None
        del self._names[parameter]
        for others in (self._accumulators, self.sparse, self._untrained):
            others.pop(parameter, None)

    def _take_out(self, parameter: torch.Tensor) -> None:
        """Make the bucket of a parameter anew, without it."""
        bucket = self._bucket_of.pop(id(parameter), None)
        if bucket is not None:
            place = next(index for index, other in enumerate(self.buckets) if other is bucket)
            rest = [other for other in bucket.parameters if other is not parameter]
            self.buckets[place : place + 1] = [self._make_bucket(rest)] if rest else []

    def _add_buckets(self, parameters: Sequence[torch.Tensor], cut: list[list[int]]) -> None:
        """Make the buckets of parameters, cut as worker 0 says."""
        [cut_by_worker_0, *_] = exchange(json.dumps(cut).encode(), "DistributedOptimizer", self.members, self.group)
        for places in json.loads(cut_by_worker_0):
            self.buckets.append(self._make_bucket([parameters[place] for place in places]))

    def _make_bucket(self, parameters: Sequence[torch.Tensor]) -> Bucket:
        """Make a bucket with the gradients as they are, and note who is in it."""
        named = [(self._names[parameter], parameter) for parameter in parameters]
        bucket = Bucket(named, sparse_as_dense=self._sparse_as_dense)
        for before in {self._bucket_of[id(each)] for each in parameters if id(each) in self._bucket_of}:
            bucket.take_over(before)
        self._bucket_of.update(dict.fromkeys(map(id, parameters), bucket))
        return bucket

    def _new_group(self) -> dist.ProcessGroup:
        """Make a process group of the workers."""
        with engine_errors("connecting the workers of DistributedOptimizer", self.members):
            return new_group(self.members.ranks if self.members.number else None)

    def _predecessors_group(self, parameters: Iterable[torch.Tensor]) -> dist.ProcessGroup | None:
        """Return the process group of an earlier optimizer over just these parameters.

        A script that makes a new optimizer for each phase would else collect process groups.
        """
        wanted = set(map(id, parameters))
        for before in map(_in_charge, parameters):
            same = before is not None and before.members is self.members and set(map(id, before._names)) == wanted
            return before.group if before is not None and same else None
        return None


def _in_charge(parameter: torch.Tensor) -> Gradients | None:
    """Return who has charge of a parameter, if anybody has."""
    held: weakref.ref[Gradients] | None = _charge.get(parameter)
    return None if held is None else held()


def _describe(name: str, parameter: torch.Tensor) -> str:
    """Describe what must be alike on all workers."""
    dtype = str(parameter.dtype).removeprefix("torch.")
    return f"{name}: {dtype} {list(parameter.shape)}{'' if parameter.requires_grad else ', frozen'}"
