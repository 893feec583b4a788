"""HR306: gradients are reduced before anyone reads or edits them."""

from __future__ import annotations

import ast

from hora.convert.distributed.script import Script
from hora.convert.finding import Finding

CODE = "HR306"
TITLE = "gradients are reduced before anyone reads or edits them"
WHY = "Each worker would clip by the norm of its own gradients, and what is averaged then is another gradient."


def detect(script: Script) -> list[Finding]:
    """Find clipping that Horovod has not reduced for, and clipping before there is a gradient."""
    return [*unreduced(script), *_too_early(script)]


def unreduced(script: Script) -> list[Finding]:
    """Find clipping between backward() and the step() in which Horovod waits for its reductions."""
    reduces_early = script.uses("hora.torch") or "synchronize(" in script.source.text
    if reduces_early or not script.calls_of("hvd.DistributedOptimizer"):
        return []
    message = (
        "Horovod reduces in step(): without optimizer.synchronize() before it, each worker clips its own gradients"
    )
    return [script.finding(CODE, call, message) for call in script.clips if "torch" in script.name(call.func)]


def _too_early(script: Script) -> list[Finding]:
    """Find clipping that stands between zero_grad() and backward(), where there is nothing to clip."""
    findings = []
    for call in script.clips:
        statement = script.statement(call)
        block = script.block(statement)
        at = block.index(statement)
        zero = [i for i, one in enumerate(block) if _calls(one, "zero_grad")]
        back = [i for i, one in enumerate(block) if _calls(one, "backward")]
        step = [i for i, one in enumerate(block) if _calls(one, "step")]
        if len(zero) == len(back) == 1 and zero[0] < at < back[0] and step and back[0] < step[-1]:
            message = "there is nothing to clip between zero_grad() and backward()"
            findings.append(script.finding(CODE, call, message))
    return findings


def _calls(statement: ast.stmt, method: str) -> bool:
    """Whether a statement is a call of a method."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == method
