"""HR308: a GradScaler looks at reduced gradients, alike on all workers."""

from __future__ import annotations

import ast

from hora.convert.distributed.accelerator import backwards_past
from hora.convert.distributed.script import Script, keyword
from hora.convert.finding import Finding

CODE = "HR308"
TITLE = "a GradScaler looks at reduced gradients, alike on all workers"
WHY = "One worker sees an inf in its own gradients and skips its step; the others wait for it in theirs."


def detect(script: Script) -> list[Finding]:
    """Find scalers that step before reductions have come in, and losses that the scaler never sees."""
    return [*_unreduced(script), *_unscaled(script)]


def _unscaled(script: Script) -> list[Finding]:
    """Find backward passes past the scaler of Accelerate, and note them where no text says whether it has one."""
    precisions = [keyword(call, "mixed_precision") for call in script.starts]
    known = {one.value if isinstance(one, ast.Constant) else None for one in precisions}
    if known <= {"no", "bf16"}:
        return []
    message = "in fp16 this loss is not scaled: accelerator.backward(loss)"
    return [script.finding(CODE, call, message, note=known != {"fp16"}) for call in backwards_past(script)]


def _unreduced(script: Script) -> list[Finding]:
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
