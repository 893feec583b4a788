"""HR403, in a distributed script: decisions are taken alike on all workers."""

from __future__ import annotations

import ast

from hora.convert.distributed.guards import on_all
from hora.convert.distributed.library import REDUCING, is_collective, reducing, wrapped
from hora.convert.distributed.script import Script
from hora.convert.finding import Finding

CODE = "HR403"


def detect(script: Script) -> list[Finding]:
    """Find loops that a worker leaves, or batches that it skips, on its own loss."""
    averaged = wrapped(script) or script.calls_of("hvd.DistributedOptimizer") or script.uses("accelerate")
    if not averaged or not script.starts:
        return []
    findings = []
    for node in script.nodes:
        if isinstance(node, ast.If) and _leaves(script, node) and on_all(script, node) and _local(script, node):
            message = "decided on the worker's own loss: the others go on, and wait for it"
            findings.append(script.finding(CODE, node, message))
    return findings


def _leaves(script: Script, choice: ast.If) -> bool:
    """Whether a choice skips a backward pass of the loop that it stands in."""
    loops = script.loops(choice)
    if not loops or not isinstance(choice.body[-1], ast.Break | ast.Continue | ast.Return):
        return False
    later = [one for one in script.backwards if loops[0] in script.loops(one)]
    return bool(later) and not any(is_collective(script, one) for one in ast.walk(choice) if isinstance(one, ast.Call))


def _local(script: Script, choice: ast.If) -> bool:
    """Whether a test reads a loss of the loop that nothing has reduced."""
    loop = script.loops(choice)[0]
    passes = [one for one in script.backwards if loop in script.loops(one) and isinstance(one.func, ast.Attribute)]
    given = [one.args[0] if one.args else one.func.value for one in passes]  # type: ignore[attr-defined]
    losses = {one.id for one in given if isinstance(one, ast.Name)}
    losses |= {
        name
        for node in ast.walk(loop)
        if isinstance(node, ast.Assign) and (name := ast.unparse(node.targets[0]))
        if ast.unparse(node.value) in {f"{loss}.item()" for loss in losses} | {f"float({loss})" for loss in losses}
    }
    read = {one.id for one in ast.walk(choice.test) if isinstance(one, ast.Name)} & losses
    brought = " ".join(ast.unparse(one) for one in ast.walk(loop) if one in reducing(script))
    return bool(read) and not any(word in ast.unparse(choice.test).lower() for word in REDUCING) and not any(
        name in brought for name in read
    )  # fmt: skip
