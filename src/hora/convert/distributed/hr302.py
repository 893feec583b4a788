"""HR302, in a distributed script: all workers start equal."""

from __future__ import annotations

from hora.convert.distributed.guards import on_all
from hora.convert.distributed.library import mentions
from hora.convert.distributed.script import Script
from hora.convert.finding import Finding

CODE = "HR302"


def detect(script: Script) -> list[Finding]:
    """Find scripts of Horovod that send the state of worker 0 to nobody."""
    made = [call for call in script.calls_of("hvd.DistributedOptimizer") if on_all(script, call)]
    if not made or not script.calls_of("hvd.init") or mentions(script, "broadcast", "elastic", "allgather_object"):
        return []
    if mentions(script, "manual_seed", "seed_everything", "set_seed"):
        message = "no broadcast_parameters(): the workers start equal by their seed alone, and not after a resume"
        return [script.finding(CODE, made[0], message, note=True)]
    message = "the workers start from different weights: hvd.broadcast_parameters(..., root_rank=0) is missing"
    return [script.finding(CODE, made[0], message)]
