"""`DistributedOptimizer`: the user's own optimizer, whose gradients are those of one worker with the global batch.

The same object keeps its state, hooks and whoever holds it; only its class becomes a subclass of its own class.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from hora.errors import HoraError
from hora.torch.compression import Compression, Compressor
from hora.torch.deltas import Deltas
from hora.torch.launches import Settings
from hora.torch.process_sets import ProcessSet, global_process_set, members_of
from hora.torch.reducer import Reducer
from hora.torch.wire import Adasum, Average, Sum

AnyOptimizer = TypeVar("AnyOptimizer", bound=torch.optim.Optimizer)


def DistributedOptimizer(  # noqa: N802 - Horovod's name
    optimizer: AnyOptimizer,
    named_parameters: Iterable[tuple[str, torch.Tensor]] | None = None,
    compression: type[Compressor] = Compression.none,
    backward_passes_per_step: int = 1,
    op: int = Average,
    gradient_predivide_factor: float = 1.0,
    num_groups: int = 0,
    groups: int | Sequence[Sequence[torch.Tensor]] | None = None,
    sparse_as_dense: bool = False,
    process_set: ProcessSet = global_process_set,
) -> AnyOptimizer:
    """Reduce an optimizer's gradients over all workers at the end of each backward.

    Whatever reads `.grad` after `backward()` sees the reduced gradient: clipping, GradScaler, the step. A parameter
    that one worker did not use counts as zero there; one that no worker used keeps no gradient. With one worker nothing
    is hooked.

    Parameters
    ----------
    optimizer
        The optimizer; it is changed in place and returned. One that is wrapped already is returned as it is.
    named_parameters
        Names for messages, as from `model.named_parameters()`. By default a parameter is named by its place.
    compression
        How gradients travel: `Compression.none`, `.fp16` or `.bf16`. What loses digits is reduced once in a step: a
        second backward before it raises HoraError out of `backward()`, unless `backward_passes_per_step` declares it
        or the gradients were zeroed between.
    backward_passes_per_step
        How many backwards are summed (not averaged) on each worker before they are reduced. A step before that reduces
        what is there.
    op
        Average or Sum of the workers' gradients. With Adasum gradients are left alone: each worker steps by itself, and
        `step()` combines the workers' changes of the weights; every worker must call it as often.
    gradient_predivide_factor
        With Average: divide by it before the sum, and by `size() / factor` after.
    num_groups
        Horovod's older form of an integer `groups`.
    groups
        How many buckets to make, or lists of parameters of which each shares a bucket. By default worker 0 cuts them
        by what it measures in the first steps; HORA_BUCKET_MB fixes their size.
    sparse_as_dense
        Whether sparse gradients are made dense, reduced, and made sparse again.
    process_set
        Which workers' gradients are reduced; on the others the optimizer does as before.

    Returns
    -------
    torch.optim.Optimizer
        The same object, of a subclass of its class, with `synchronize`, `skip_synchronize` and
        `set_backward_passes_per_step`.

    Raises
    ------
    ValueError
        An argument of the wrong kind, names that are not unique or do not cover the parameters.
    HorovodInternalError
        The workers' parameters differ; raised on every worker, naming a worker and the first parameter that differs.
    """
    if hasattr(optimizer, "_reducer"):
        return optimizer
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise HoraError(
            "hvd.DistributedOptimizer()",
            f"{type(optimizer).__name__} is no torch.optim.Optimizer",
            "Wrap the optimizer that steps",
        )
    if op not in (Average, Sum, Adasum):
        raise ValueError(f"op must be hvd.Average, hvd.Sum or hvd.Adasum; got {op!r}")
    if gradient_predivide_factor != 1.0 and op != Average:
        raise ValueError("gradient_predivide_factor needs op=hvd.Average")
    _check_passes(backward_passes_per_step)
    names = _names(optimizer, named_parameters)
    listed, number = _groups(groups, num_groups)
    reducer = None
    shared = process_set.included() and members_of(process_set).size > 1
    if shared and op != Adasum:
        settings = Settings(op, compression, gradient_predivide_factor, sparse_as_dense, process_set)
        reducer = Reducer(settings, backward_passes_per_step, [parameter for _, parameter in names])
        sparse = isinstance(optimizer, torch.optim.SparseAdam) and not sparse_as_dense
        reducer.gradients.adopt(names, groups=listed, number_of_buckets=number, sparse=sparse)
    if not hasattr(optimizer, "_optimizer_step_pre_hooks"):
        # A class that does not call its base's constructor gets what torch gives an optimizer that was unpickled.
        torch.optim.Optimizer.__setstate__(optimizer, {"defaults": getattr(optimizer, "defaults", {})})
    wrapped: Any = optimizer
    plain: Any = type(optimizer)
    wrapped.__class__ = _distributed_class(plain)
    wrapped._reducer = reducer
    if reducer is not None:
        optimizer.register_step_pre_hook(_before_step)
        optimizer.register_step_post_hook(_after_step)
    elif shared:
        deltas = Deltas(names, compression, process_set)
        optimizer.register_step_pre_hook(deltas.before_step)
        optimizer.register_step_post_hook(deltas.after_step)
    return optimizer


@functools.cache
def _distributed_class(plain: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Make the subclass that a wrapped optimizer has; it has one base, so that it fits an object made before."""

    class Distributed(plain):  # type: ignore[misc, valid-type]
        __doc__ = plain.__doc__
        _reducer: Reducer | None
        _skips_synchronize = False
        _synchronized = False

        @property
        def _parameter_names(self) -> dict[torch.Tensor, str]:
            """The parameters' names, under the name that Horovod's scripts know."""
            pairs = _by_place(self.param_groups)
            name = (lambda parameter, place: place) if self._reducer is None else self._reducer.gradients.name_or
            return {parameter: name(parameter, place) for place, parameter in pairs}

        def synchronize(self) -> None:
            """Reduce now what backward left: a window of `backward_passes_per_step` that is not full."""
            if self._reducer is not None:
                self._reducer.close_window()
                self._synchronized = True

        @contextmanager
        def skip_synchronize(self) -> Iterator[None]:
            """Let `step()` inside leave a window that is not full as it is."""
            self._skips_synchronize = True
            try:
                yield
            finally:
                self._skips_synchronize = False

        def set_backward_passes_per_step(self, passes: int) -> None:
            """Set how many backwards are summed on each worker before they are reduced."""
            _check_passes(passes)
            if self._reducer is not None:
                self._reducer.window = passes

        def add_param_group(self, param_group: dict[str, Any]) -> None:
            """Add a group of parameters, on all workers at once."""
            super().add_param_group(param_group)
            if self._reducer is not None:
                self._reducer.gradients.adopt(_by_place(self.param_groups[-1:], first=len(self.param_groups) - 1))

        def __reduce_ex__(self, protocol: Any) -> Any:
            # Pickled and copied as the plain optimizer: a checkpoint loads where Hora is not.
            return plain.__new__, (plain,), self.__getstate__()

    Distributed.__name__, Distributed.__qualname__ = plain.__name__, plain.__qualname__
    Distributed.__module__ = plain.__module__
    return Distributed


class _ReducedClosure:
    """A closure whose loss, like its gradients, is the mean over the workers, so that line searches agree."""

    def __init__(self, closure: Callable[[], Any], reducer: Reducer) -> None:
        self._closure = closure
        self._reducer = reducer

    def __call__(self) -> Any:
        self._reducer.begin_step()
        loss = self._closure()
        self._reducer.before_step()
        if isinstance(loss, torch.Tensor):
            return self._reducer.mean(loss)
        return loss if loss is None else self._reducer.mean(torch.tensor(float(loss), dtype=torch.float64)).item()


def _before_step(optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
    """Close the window, and have a closure return the reduced loss. Twice is once: a step may call `super().step()`."""
    reducer: Reducer = optimizer._reducer
    if optimizer._synchronized and not optimizer._skips_synchronize:
        # Where Horovod runs the script, it costs a second reduction.
        warnings.warn(
            "optimizer.step() called without optimizer.skip_synchronize() after optimizer.synchronize()", stacklevel=4
        )
    optimizer._synchronized = False
    knows = reducer.gradients.knows
    if not all(knows(parameter) for group in optimizer.param_groups for parameter in group["params"]):
        reducer.gradients.adopt([pair for pair in _by_place(optimizer.param_groups) if not knows(pair[1])])
        # Their gradients are there, but no hook has seen them.
        reducer.begin_step()
    closure = kwargs["closure"] if "closure" in kwargs else args[1] if len(args) > 1 else None
    if not callable(closure):
        if not optimizer._skips_synchronize:
            reducer.before_step()
        return None
    if isinstance(closure, _ReducedClosure):
        return None
    reduced = _ReducedClosure(closure, reducer)
    return ((args[0], reduced, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "closure": reduced})


def _after_step(optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Begin a new step."""
    optimizer._reducer.after_step()


def _names(
    optimizer: torch.optim.Optimizer, named_parameters: Iterable[tuple[str, torch.Tensor]] | None
) -> list[tuple[str, torch.Tensor]]:
    """Name the optimizer's parameters, in its order."""
    by_place = _by_place(optimizer.param_groups)
    if named_parameters is None:
        return by_place
    pairs = list(named_parameters)
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError("named_parameters must be pairs of name and parameter, as model.named_parameters() gives")
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"named_parameters must have unique names; found twice: {', '.join(twice)}")
    name_of = {parameter: name for name, parameter in pairs}
    unnamed = [place for place, parameter in by_place if parameter not in name_of]
    if unnamed:
        raise ValueError(f"named_parameters must name every parameter of the optimizer; missing: {', '.join(unnamed)}")
    return [(name_of[parameter], parameter) for _, parameter in by_place]


def _by_place(groups: Sequence[dict[str, Any]], first: int = 0) -> list[tuple[str, torch.Tensor]]:
    """Name parameters by their place in the optimizer's groups."""
    return [
        (f"group {number} parameter {index}", parameter)
        for number, group in enumerate(groups, first)
        for index, parameter in enumerate(group["params"])
    ]


def _groups(
    groups: int | Sequence[Sequence[torch.Tensor]] | None, num_groups: int
) -> tuple[Sequence[Sequence[torch.Tensor]], int]:
    """Read `groups` and its older form: (lists of parameters that share a bucket, how many buckets to make)."""
    groups = num_groups if groups is None else groups
    if isinstance(groups, int):
        if groups < 0:
            raise ValueError(f"groups must not be negative; got {groups}")
        return (), groups
    for group in groups:
        if not isinstance(group, Sequence) or not all(isinstance(member, torch.Tensor) for member in group):
            raise ValueError("groups must be a number or a list of lists of parameters")
    return groups, 0


def _check_passes(passes: int) -> None:
    """Refuse a number of backwards that is no positive integer."""
    if not isinstance(passes, int) or passes < 1:
        raise ValueError(f"backward_passes_per_step must be a positive integer; got {passes!r}")
