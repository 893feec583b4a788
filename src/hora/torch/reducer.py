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
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist

from hora.errors import HoraError
from hora.torch import engine, heartbeat
from hora.torch.buckets import Bucket
from hora.torch.compression import Compression, Compressor
from hora.torch.exceptions import HorovodInternalError
from hora.torch.failure import engine_errors
from hora.torch.gradients import Gradients
from hora.torch.process_sets import ProcessSet, global_process_set
from hora.torch.recording import recording
from hora.torch.sparse import mean_sparse
from hora.torch.wire import Average, Sum
from hora.torch.world import current

# Notes stay small, so that their mean is exact in float32.
_NOTE_MODULUS = 512
# The step in which worker 0 notes when gradients come; in the ones before, memory is still being found for them.
_MEASURED_STEP = 3

_numbers = itertools.count()
# The reducers that a backward has reached, by its number, from its end until they are done.
_ending: dict[int, list[Reducer]] = {}


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
    process_set
        Which workers' gradients; this one is among them.
    """

    op: int = Average
    compression: type[Compressor] = Compression.none
    predivide: float = 1.0
    sparse_as_dense: bool = False
    process_set: ProcessSet = global_process_set


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
        self._settings = settings
        # With networks on several devices the engine calls hooks from several threads.
        self._lock = threading.RLock()
        # The backward that is running, and those inside it.
        self._backwards: set[int] = set()
        self._early = False
        self._reentrant = False
        self._launched = 0
        # Backwards since the last reduction, and whether there was one since the last step.
        self._passes = 0
        self._reduced = False
        # What the workers must have in common whenever they reduce.
        self._reductions = 0
        self._steps = 0
        # When the gradients of the step came that is measured.
        self._arrivals: dict[torch.Tensor, float] = {}
        self._number = next(_numbers)

    def before_step(self) -> None:
        """Reduce before a step what no backward has reduced since the last one.

        That is a window which is not full, gradients which the script set by hand, and those of other workers whose
        backward reached parameters of this optimizer when this worker's did not.
        """
        with self._lock:
            if self._passes or self._backwards or not self._reduced:
                if self._settings.op == Sum:
                    for bucket in self.gradients.buckets:
                        bucket.scale_set_by_hand(self.gradients.members.size)
                self._reduce()

    def begin_step(self) -> None:
        """Note that the gradients at hand are used up."""
        self._reduced = False

    def after_step(self) -> None:
        """Count a step; after the one that was measured, make the buckets anew."""
        self._steps += 1
        heartbeat.stepped(self._number)
        record = recording()
        if record is not None:
            record.mark(f"step {self._steps} of optimizer {self._number}")
        self.begin_step()
        if self._steps == _MEASURED_STEP:
            self.gradients.rearrange(self._arrivals)
            self._arrivals = {}

    def close_window(self) -> None:
        """Reduce a window that is not full."""
        with self._lock:
            if self._passes or self._backwards:
                self._reduce()

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Return a number's mean over the workers, or its sum where gradients are summed."""
        value = value.detach().clone()
        with engine_errors("reducing the loss of a closure", self.gradients.members):
            dist.all_reduce(value, group=self.gradients.group)
        return value / self.gradients.members.size if self._settings.op == Average else value

    def _before_gradient(self) -> None:
        """Before a backward: see whether it would add to gradients that lost digits on their way already."""
        with self._lock:
            if self._backwards or not (self._reduced or self._passes):
                return
            if self.gradients.blank():
                self._passes, self._reduced = 0, False
            elif self._reduced:
                raise HoraError(
                    f"hvd.DistributedOptimizer(compression={self._settings.compression.__name__})",
                    "another backward before the step adds to gradients that were compressed and reduced already",
                    "Name how many backwards a step has (backward_passes_per_step), or zero the gradients between them",
                )

    def _on_gradient(self, parameter: torch.Tensor) -> None:
        """Note that a gradient is there; launch the buckets that are full and whose turn it is."""
        with self._lock:
            if engine.current_backward() not in self._backwards:
                self._on_new_backward()
            if self._steps == _MEASURED_STEP - 1:
                self._arrivals.setdefault(parameter, time.perf_counter())
            bucket = self.gradients.bucket_of(parameter)
            if bucket is not None:
                bucket.pending -= 1
                if bucket.pending == 0 and recording() is not None:
                    self._show(bucket, "QUEUE")
            if self._early:
                buckets = self.gradients.buckets
                while self._launched < len(buckets) and buckets[self._launched].pending <= 0:
                    self._launch_next()

    def _on_new_backward(self) -> None:
        """Begin a backward, or go on with one that runs inside another or was cut short by an error."""
        if self._backwards:
            self._early = False
            self._finish_launched()
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
                self._finish_launched()
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
            self._reductions = self._steps = 0
            self._arrivals.clear()

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
            self._launch_rest()

    def _finish_reduction(self) -> None:
        """Wait for the buckets, and reduce what is in none."""
        members = self.gradients.members
        if members.size == 1:
            return
        self._finish_launched()
        self._reductions += 1
        if self.gradients.newly_trained():
            self._launched = len(self.gradients.buckets)
            self.gradients.adopt_newly_trained()
            self._launch_rest()
            self._finish_launched()
        for parameter in self.gradients.sparse:
            with engine_errors(f"reducing the sparse gradient of {self.gradients.name(parameter)}", members):
                parameter.grad = mean_sparse(parameter.grad, parameter, self.gradients.group, members.size)

    def _launch_rest(self) -> None:
        """Start to reduce the buckets that no hook has launched."""
        while self._launched < len(self.gradients.buckets):
            self._launch_next()

    def _launch_next(self) -> None:
        """Start to reduce the bucket whose turn it is; the last one carries the notes."""
        bucket = self.gradients.buckets[self._launched]
        self._launched += 1
        if self._launched == len(self.gradients.buckets):
            newly_trained = len(self.gradients.newly_trained())
            bucket.notes = (self._reductions % _NOTE_MODULUS, self._steps % _NOTE_MODULUS, newly_trained)
        size, predivide = self.gradients.members.size, self._settings.predivide
        prescale = 1 / (size if predivide == 1.0 else predivide)
        self._show(bucket, "ALLREDUCE")
        with engine_errors(bucket, self.gradients.members):
            work = bucket.launch(self.gradients.group, prescale, self._settings.compression)
        if bucket.span is not None:
            bucket.span.end_after([work])
            bucket.span = None

    def _show(self, bucket: Bucket, phase: str) -> None:
        """Let the timeline show a phase of a bucket, where there is one."""
        record = recording()
        if record is None:
            return
        if bucket.span is None:
            place = self.gradients.buckets.index(bucket)
            name = f"gradients.bucket {place} of optimizer {self._number}"
            bucket.span = record.begin(name, "gradients", step=self._steps + 1, what=str(bucket))
        bucket.span.phase(phase)
        if phase == "ALLREDUCE":
            record.mark_cycle()

    def _finish_launched(self) -> None:
        """Wait for the buckets that were launched; parameters whose gradients prove sparse leave their bucket."""
        launched, self._launched = self.gradients.buckets[: self._launched], 0
        size, predivide = self.gradients.members.size, self._settings.predivide
        sparse: list[torch.Tensor] = []
        for bucket in launched:
            with engine_errors(bucket, self.gradients.members):
                sparse += bucket.finish(1.0 if predivide == 1.0 else predivide / size)
        if launched and launched[-1] is self.gradients.buckets[-1]:
            self._check_notes(launched[-1])
        for parameter in sparse:
            self.gradients.move_to_sparse(parameter)

    def _check_notes(self, bucket: Bucket) -> None:
        """Raise where the workers are at different places of their scripts, or train different parameters.

        Looked at where it costs nothing: a device would have to be waited for, so that only newly trained parameters
        are worth it there, and a dtype of few digits cannot tell.
        """
        exact = bucket.exact and self._settings.compression is Compression.none
        if not (bucket.notes[-1] or (exact and bucket.device.type == "cpu")):
            return
        rank, tolerance = current().rank, 0.4 / self.gradients.members.size
        off = [abs(mean - own) > tolerance for mean, own in zip(bucket.mean_notes(), bucket.notes, strict=True)]
        if exact and any(off[:2]):
            raise HorovodInternalError(
                f"worker {rank}: the loops of the workers have come apart: this one is at step {self._steps + 1} "
                f"and backward {self._reductions + 1} of its optimizer, and another is not"
            )
        if off[-1]:
            names = ", ".join(map(self.gradients.name, self.gradients.newly_trained()))
            raise HorovodInternalError(
                f"worker {rank}: the workers train different parameters: {names or 'none'} became trainable "
                "here, but not on all"
            )


def _finish_ending() -> None:
    """Wait for all reducers that one backward has reached, in the same order on every worker.

    Nobody waits before all have launched: their gradients may have come in another order on another worker.
    """
    for reducer in sorted(_ending.pop(engine.current_backward(), ()), key=lambda reducer: reducer._number):
        with reducer._lock:
            reducer._finish_reduction()
