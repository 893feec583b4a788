"""HR303, in a distributed script: a sum-reduced loss keeps its scale."""

from __future__ import annotations

import ast

from hora.convert.distributed.library import mentions, wrapped
from hora.convert.distributed.script import Script, keyword
from hora.convert.finding import Finding

CODE = "HR303"


def detect(script: Script) -> list[Finding]:
    """Find backward passes of a sum over the batch whose gradients are averaged."""
    averaged = wrapped(script) or script.calls_of("hvd.DistributedOptimizer")
    if not averaged or mentions(script, "hvd.Sum", "op=Sum", "world_size", "size()", "comm_hook"):
        return []
    message = "the loss is a sum over the batch: averaged over N workers it is N times too small"
    return [
        script.finding(CODE, call, message)
        for call in script.backwards
        if isinstance(call.func, ast.Attribute) and _is_sum(script, call.func.value)
    ]


def _is_sum(script: Script, loss: ast.expr) -> bool:
    """Whether a loss can be nothing but a sum: of a function that adds up, or of a criterion made to."""
    origins = script.origins(loss)
    return bool(origins) and all(isinstance(one, ast.Call) and _adds_up(script, one) for one in origins)


def _adds_up(script: Script, call: ast.Call) -> bool:
    """Whether a call gives a sum of losses."""
    if _says_sum(call):
        return script.name(call.func).startswith("torch.nn.functional.")
    made = script.origins(call.func)
    return all(isinstance(one, ast.Call) and _says_sum(one) and "torch.nn" in script.name(one.func) for one in made)


def _says_sum(call: ast.Call) -> bool:
    """Whether a call asks for a sum."""
    given = keyword(call, "reduction")
    return isinstance(given, ast.Constant) and given.value == "sum"
