"""`join`: a worker that is out of data takes part with zeros, in operations and in gradients, until all have joined.

Operations by name it answers by way of `handles`. Gradients are not negotiated, so here it holds zeros ready for the
next reduction of each optimizer; the notes that come back say whether all have joined.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from hora.errors import HoraError
from hora.torch import heartbeat
from hora.torch.buckets import Zeros
from hora.torch.calls import Call
from hora.torch.exceptions import HorovodInternalError
from hora.torch.exchange import exchange
from hora.torch.failure import engine_errors
from hora.torch.handles import Operation, poll, synchronize
from hora.torch.notes import ABSENT, compare
from hora.torch.reducer import Reducer, reducers
from hora.torch.sparse import mean_sparse
from hora.torch.world import current

_PAUSE_SECONDS = 0.0005


def join(device: int = -1) -> int:
    """Say that this worker is out of data; give zeros to what the others reduce until all have joined.

    The others' allreduces divide by the number of all workers, and so do the gradients of `DistributedOptimizer`. This
    worker's own gradients and weights stay as they are: broadcast those of the worker that joined last.

    Parameters
    ----------
    device
        Horovod has it; not needed here.

    Returns
    -------
    int
        The rank of the worker that joined last, alike on all.

    Raises
    ------
    HorovodInternalError
        A worker is gone, or calls what a worker that has joined cannot take part in.
    HoraError
        All gradients of an optimizer are sparse.
    """
    world = current()
    if world.size == 1:
        return 0
    absences = [_Absence(reducer) for reducer in reducers()]
    call = Call("join", None, [], {})
    handle = world.operations.join(Operation(call, world.members, lambda _: [], lambda calls: calls))
    while not poll(handle):
        with heartbeat.waiting(call):
            while not (poll(handle) or any(absence.advance() for absence in absences)):
                time.sleep(_PAUSE_SECONDS)
    [joined] = synchronize(handle)
    _finish(absences)
    return int(joined.own)


def _finish(absences: Sequence[_Absence]) -> None:
    """Finish the last reduction, of zeros alone, with the optimizers that all workers have still."""
    own = [absence.reducer.key for absence in absences]
    held = [set(json.loads(keys)) for keys in exchange(json.dumps(own).encode(), "finishing hvd.join()")]
    for absence in absences:
        if all(absence.reducer.key in held[rank] for rank in absence.reducer.gradients.members.ranks):
            while not absence.over:
                absence.advance(wait=True)
            absence.reducer.launches.begin_anew()


class _Absence:
    """A joined worker's part in the reductions of one optimizer.

    Attributes
    ----------
    reducer
        What reduces the optimizer's gradients.
    over
        Whether all workers have joined.
    """

    def __init__(self, reducer: Reducer) -> None:
        self.reducer = reducer
        self.over = False
        gradients = reducer.gradients
        if gradients.sparse and not gradients.buckets:
            raise HoraError(
                "hvd.join()",
                "all gradients of an optimizer are sparse, and only dense ones tell who has joined",
                "Pass sparse_as_dense=True to hvd.DistributedOptimizer",
            )
        self._launched = self._launch()

    def advance(self, *, wait: bool = False) -> bool:
        """Go on where the reduction is done, or wait until it is; return whether it was."""
        if self.over or not (wait or all(zeros.work.is_completed() for zeros in self._launched)):
            return False
        self._complete()
        if not self.over:
            self._launched = self._launch()
        return True

    def _launch(self) -> list[Zeros]:
        """Hold zeros ready for the next reduction."""
        reducer = self.reducer
        prescale, _ = reducer.launches.scales()
        *others, last = reducer.gradients.buckets
        group, compression = reducer.gradients.group, reducer.launches.settings.compression
        return [
            *(bucket.launch_zeros(group, prescale, compression) for bucket in others),
            last.launch_zeros(group, prescale, compression, ABSENT),
        ]

    def _complete(self) -> None:
        """Take in what came of a reduction, as far as the others go on from it."""
        gradients = self.reducer.gradients
        _, postscale = self.reducer.launches.scales()
        with engine_errors("hvd.join()", gradients.members):
            for zeros in self._launched:
                zeros.work.wait()
        comparison = compare(ABSENT, self._launched[-1].mean_notes(postscale), gradients.members.size)
        if comparison.newly_trained_elsewhere:
            raise HorovodInternalError(
                f"worker {current().rank}: parameters became trainable elsewhere after this worker had joined"
            )
        for bucket, zeros in zip(list(gradients.buckets), self._launched, strict=True):
            for place in zeros.sparse():
                gradients.move_to_sparse(bucket.parameters[place])
        self.over = comparison.joined == gradients.members.size
        # In the last one nobody has any, and a worker that knows already that all have joined does not wait for them.
        for parameter in () if self.over else gradients.sparse:
            with engine_errors("hvd.join()", gradients.members):
                mean_sparse(None, parameter, gradients.group, gradients.members.size)
