"""The buckets of one optimizer on their way: launched in one order on all workers, waited for together.

`reducer` decides when; here is how, and whether the workers are at the same place of their scripts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hora.torch.buckets import Bucket
from hora.torch.compression import Compression, Compressor
from hora.torch.exceptions import HorovodInternalError
from hora.torch.failure import engine_errors
from hora.torch.gradients import Gradients
from hora.torch.notes import Notes, compare
from hora.torch.process_sets import ProcessSet, global_process_set
from hora.torch.recording import recording
from hora.torch.wire import Average
from hora.torch.world import current


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


class Launches:
    """Launches buckets and waits for them.

    Parameters
    ----------
    gradients
        Whose buckets.
    settings
        How to reduce.
    number
        The optimizer's number, for the timeline.

    Attributes
    ----------
    settings
        As above.
    reductions, steps
        How many are done; the workers must have these in common whenever they reduce.
    others_joined
        Whether a worker had joined at the last reduction that was looked at.
    look
        Whether to look at the next reduction in any case.
    """

    def __init__(self, gradients: Gradients, settings: Settings, number: int) -> None:
        self.reductions = self.steps = 0
        self.others_joined = False
        self.look = False
        self._gradients = gradients
        self.settings = settings
        self._number = number
        self._launched = 0

    def begin_anew(self) -> None:
        """Begin to count anew, on all workers at once."""
        self.reductions = self.steps = 0
        self.others_joined = False

    def scales(self) -> tuple[float, float]:
        """Return what gradients are multiplied with before and after they are summed."""
        size, predivide = self._gradients.members.size, self.settings.predivide
        return (1 / size, 1.0) if predivide == 1.0 else (1 / predivide, predivide / size)

    def fill(self, bucket: Bucket) -> bool:
        """Note that a bucket has one gradient more; return whether it is full."""
        bucket.pending -= 1
        if bucket.pending == 0 and recording() is not None:
            self._show(bucket, "QUEUE")
        return bucket.pending <= 0

    def launch_full(self) -> None:
        """Start to reduce the buckets that are full and whose turn it is."""
        buckets = self._gradients.buckets
        while self._launched < len(buckets) and buckets[self._launched].pending <= 0:
            self._launch_next()

    def launch_rest(self) -> None:
        """Start to reduce the buckets that are not on their way yet."""
        while self._launched < len(self._gradients.buckets):
            self._launch_next()

    def skip_present(self) -> None:
        """Let what is launched next be the buckets that are still to come."""
        self._launched = len(self._gradients.buckets)

    def finish(self) -> None:
        """Wait for the buckets that were launched; parameters whose gradients prove sparse leave their bucket."""
        launched, self._launched = self._gradients.buckets[: self._launched], 0
        _, postscale = self.scales()
        sparse: list[torch.Tensor] = []
        for bucket in launched:
            with engine_errors(bucket, self._gradients.members):
                sparse += bucket.finish(postscale)
        if launched and launched[-1] is self._gradients.buckets[-1]:
            self._check_notes(launched[-1])
        for parameter in sparse:
            self._gradients.move_to_sparse(parameter)

    def _launch_next(self) -> None:
        """Start to reduce the bucket whose turn it is; the last one carries the notes."""
        bucket = self._gradients.buckets[self._launched]
        self._launched += 1
        if self._launched == len(self._gradients.buckets):
            bucket.notes = Notes(self.reductions, self.steps, len(self._gradients.newly_trained())).numbers()
        prescale, _ = self.scales()
        self._show(bucket, "ALLREDUCE")
        with engine_errors(bucket, self._gradients.members):
            work = bucket.launch(self._gradients.group, prescale, self.settings.compression)
        if bucket.span is not None:
            bucket.span.end_after([work])
            bucket.span = None

    def _show(self, bucket: Bucket, phase: str) -> None:
        """Let the timeline show a phase of a bucket, where there is one."""
        record = recording()
        if record is None:
            return
        if bucket.span is None:
            place = self._gradients.buckets.index(bucket)
            name = f"gradients.bucket {place} of optimizer {self._number}"
            bucket.span = record.begin(name, "gradients", step=self.steps + 1, what=str(bucket))
        bucket.span.phase(phase)
        if phase == "ALLREDUCE":
            record.mark_cycle()

    def _check_notes(self, bucket: Bucket) -> None:
        """Raise where the workers are at different places of their scripts, or train different parameters.

        Looked at where it costs nothing: a device would have to be waited for, so that only newly trained parameters
        are worth it there, and a dtype of few digits cannot tell.
        """
        if not (bucket.notes[-1] or bucket.device.type == "cpu" or self.look):
            return
        rank = current().rank
        exact = bucket.exact and self.settings.compression is Compression.none
        found = compare(bucket.notes, bucket.mean_notes(), self._gradients.members.size)
        self.others_joined = found.joined > 0
        if exact and found.apart and bucket.device.type == "cpu":
            raise HorovodInternalError(
                f"worker {rank}: the loops of the workers have come apart: this one is at step {self.steps + 1} "
                f"and backward {self.reductions + 1} of its optimizer, and another is not"
            )
        if (bucket.notes[-1] or exact) and (found.newly_trained_elsewhere or (found.joined and bucket.notes[-1])):
            names = ", ".join(map(self._gradients.name, self._gradients.newly_trained()))
            raise HorovodInternalError(
                f"worker {rank}: the workers train different parameters: {names or 'none'} became trainable "
                "here, but not on all"
            )
