"""HR308: a GradScaler looks at reduced gradients, alike on all workers."""

from __future__ import annotations

from hora.convert.distributed.script import Script
from hora.convert.finding import Finding

CODE = "HR308"
TITLE = "a GradScaler looks at reduced gradients, alike on all workers"
WHY = "One worker sees an inf in its own gradients and skips its step; the others wait for it in theirs."


def detect(script: Script) -> list[Finding]:
    """Find scalers that step an optimizer of Horovod before its reductions have come in."""
    wrappers = script.calls_of("hvd.DistributedOptimizer")
    if script.uses("hora.torch") or not wrappers or "synchronize(" in script.source.text:
        return []
    message = (
        "the scaler looks for inf in unreduced gradients: optimizer.synchronize() first, skip_synchronize() around"
    )
    return [
        script.finding(CODE, call, message)
        for call in script.calls_of(".step")
        if call.args and any(one in wrappers for one in script.origins(call.args[0]))
    ]
