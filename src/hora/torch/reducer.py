"""Reduces the gradients of one optimizer while backward runs, so that whatever reads `.grad` after it sees the mean.

    hook     hook     hook ...          end of backward
    grad 9   grad 8   grad 7            launch what is left, wait for all
       └ bucket 0 full: launch ─────────────┘

Nothing is negotiated on the way: all workers launch the same buckets in one order, whatever order gradients come in.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Sequence

import torch
import torch.distributed as dist

from hora.errors import HoraError
from hora.torch import engine, heartbeat
from hora.torch.compression import Compression
from hora.torch.exceptions import HorovodInternalError
from hora.torch.failure import engine_errors
from hora.torch.gradients import Gradients
from hora.torch.launches import Launches, Settings
from hora.torch.recording import recording
from hora.torch.sparse import mean_sparse
from hora.torch.wire import Average, Sum
from hora.torch.world import current

# The step in which worker 0 notes when gradients come; in the ones before, memory is still being found for them.
_MEASURED_STEP = 3

_numbers = itertools.count()
_reducers: weakref.WeakSet[Reducer] = weakref.WeakSet()
# The reducers that a backward has reached, by its number, from its end until they are done.
_ending: dict[int, list[Reducer]] = {}


class Reducer:
    """Decides when the gradients of one optimizer are reduced, and reduces them.

    Parameters
    ----------
    settings
        How to reduce.
    window
        How many backwards are summed on each worker before they are reduced.
    parameters
        The optimizer's parameters; `gradients.adopt` is still to be called.

    Attributes
    ----------
    window
        As above.
    gradients
        The gradients, and the buckets they live in.
    launches
        The buckets on their way.
    number, key
        Counts the reducers of this process; the second those of its workers in this round, and is alike on all of them.
    """

    def __init__(self, settings: Settings, window: int, parameters: Sequence[torch.Tensor]) -> None:
        self.window = window
        self.gradients = Gradients(
            parameters,
            self._on_gradient,
            before_gradient=None if settings.compression is Compression.none else self._before_gradient,
            summed=settings.op == Sum,
            sparse_as_dense=settings.sparse_as_dense,
            process_set=settings.process_set,
        )
        # With networks on several devices the engine calls hooks from several threads.
        self._lock = threading.RLock()
        # The backward that is running, and those inside it.
        self._backwards: set[int] = set()
        self._early = False
        self._reentrant = False
        # Backwards since the last reduction, and whether there was one since the last step.
        self._passes = 0
        self._reduced = False
        # When the gradients of the step came that is measured.
        self._arrivals: dict[torch.Tensor, float] = {}
        self._rearranged = False
        self.number = next(_numbers)
        self.launches = Launches(self.gradients, settings, self.number)
        self.key = self._key()
        _reducers.add(self)

    def before_step(self) -> None:
        """Reduce before a step what no backward has reduced since the last one.

        That is a window which is not full, gradients which the script set by hand, and those of other workers whose
        backward reached parameters of this optimizer when this worker's did not.
        """
        with self._lock:
            if self._passes or self._backwards or not self._reduced:
                if self.launches.settings.op == Sum:
                    for bucket in self.gradients.buckets:
                        bucket.scale_set_by_hand(self.gradients.members.size)
                self._reduce()

    def begin_step(self) -> None:
        """Note that the gradients at hand are used up."""
        self._reduced = False

    def after_step(self) -> None:
        """Count a step; after the one that was measured, make the buckets anew."""
        steps = self.launches.steps = self.launches.steps + 1
        heartbeat.stepped(self.number)
        record = recording()
        if record is not None:
            record.mark(f"step {steps} of optimizer {self.number}")
        self.begin_step()
        self.launches.look = steps == _MEASURED_STEP - 1 and not self._rearranged
        # A worker that has joined cannot take part.
        if steps == _MEASURED_STEP and not (self._rearranged or self.launches.others_joined):
            self._rearranged = True
            self.gradients.rearrange(self._arrivals)
            self._arrivals = {}

    def close_window(self) -> None:
        """Reduce a window that is not full."""
        with self._lock:
            if self._passes or self._backwards:
                self._reduce()

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Return a number's mean over the workers, or its sum where gradients are summed."""
        if self.launches.others_joined:
            raise HorovodInternalError(
                f"worker {current().rank}: a worker has joined, and can take no part in a step with a closure"
            )
        value = value.detach().clone()
        with engine_errors("reducing the loss of a closure", self.gradients.members):
            dist.all_reduce(value, group=self.gradients.group)
        return value / self.gradients.members.size if self.launches.settings.op == Average else value

    def _before_gradient(self) -> None:
        """Before a backward: see whether it would add to gradients that lost digits on their way already."""
        with self._lock:
            if self._backwards or not (self._reduced or self._passes):
                return
            if self.gradients.blank():
                self._passes, self._reduced = 0, False
            elif self._reduced:
                raise HoraError(
                    f"hvd.DistributedOptimizer(compression={self.launches.settings.compression.__name__})",
                    "another backward before the step adds to gradients that were compressed and reduced already",
                    "Name how many backwards a step has (backward_passes_per_step), or zero the gradients between them",
                )

    def _on_gradient(self, parameter: torch.Tensor) -> None:
        """Note that a gradient is there; launch the buckets that are full and whose turn it is."""
        with self._lock:
            if engine.current_backward() not in self._backwards:
                self._on_new_backward()
            if self.launches.steps == _MEASURED_STEP - 1:
                self._arrivals.setdefault(parameter, time.perf_counter())
            bucket = self.gradients.bucket_of(parameter)
            if bucket is not None and self.launches.fill(bucket) and self._early:
                self.launches.launch_full()

    def _on_new_backward(self) -> None:
        """Begin a backward, or go on with one that runs inside another or was cut short by an error."""
        if self._backwards:
            self._early = False
            self.launches.finish()
        else:
            self._follow_world()
            self._early = not self._reentrant and self._passes + 1 >= self.window and self.gradients.members.size > 1
            for bucket in self.gradients.buckets:
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
                # What goes on outside may add to gradients that are on their way.
                self._reentrant, self._early = True, False
                self.launches.finish()
                engine.after_node(node, self._watch_end)
            elif self._backwards:
                self._backwards.clear()
                self._passes += 1
                if self._passes >= self.window:
                    self._begin_reduction()
                    _ending.setdefault(engine.current_backward(), []).append(self)
                    engine.at_end_of_backward(_finish_ending)

    def _follow_world(self) -> None:
        """Go over to the world of a later `init()`."""
        if self.gradients.follow_world():
            self.launches.begin_anew()
            self.key = self._key()
            self._rearranged = False
            self._arrivals.clear()

    def _key(self) -> str:
        """Number it among the reducers of its workers."""
        number = self.gradients.members.number
        return f"{number}.{next(current().optimizers[number])}"

    def _reduce(self) -> None:
        """Reduce all gradients, and wait."""
        self._begin_reduction()
        self._finish_reduction()

    def _begin_reduction(self) -> None:
        """Launch the buckets that no hook has launched."""
        self._backwards.clear()
        self._passes = 0
        self._reduced = True
        self._follow_world()
        if self.gradients.members.size > 1:
            self.launches.launch_rest()

    def _finish_reduction(self) -> None:
        """Wait for the buckets, and reduce what is in none."""
        members = self.gradients.members
        if members.size == 1:
            return
        self.launches.finish()
        self.launches.reductions += 1
        if self.gradients.newly_trained():
            self.launches.skip_present()
            self.gradients.adopt_newly_trained()
            self.launches.launch_rest()
            self.launches.finish()
        for parameter in self.gradients.sparse:
            with engine_errors(f"reducing the sparse gradient of {self.gradients.name(parameter)}", members):
                parameter.grad = mean_sparse(parameter.grad, parameter, self.gradients.group, members.size)


def reducers() -> list[Reducer]:
    """List the reducers that have gradients to reduce, in the order in which they were made."""
    return sorted((each for each in _reducers if each.gradients.active), key=lambda each: each.number)


def _finish_ending() -> None:
    """Wait for all reducers that one backward has reached, in the same order on every worker.

    Nobody waits before all have launched: their gradients may have come in another order on another worker.
    """
    for reducer in sorted(_ending.pop(engine.current_backward(), ()), key=lambda reducer: reducer.number):
        with reducer._lock:
            reducer._finish_reduction()
