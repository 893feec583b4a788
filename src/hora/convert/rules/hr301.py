"""HR301: every optimizer that steps averages the workers' gradients."""

from __future__ import annotations

import ast

from hora.convert.edits import Edit, insert_after, replace
from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.values import Optimizer

CODE = "HR301"
TITLE = "every optimizer that steps is wrapped"
WHY = "With only the generator of a GAN wrapped, the discriminators of two workers differ by 5.6e-3 after 3 steps."


def detect(program: Program) -> list[Finding]:
    """Find optimizers that step on the gradients of one worker alone."""
    findings = []
    for optimizer in program.stepping:
        if not optimizer.wrapped:
            findings.append(_finding(program, optimizer))
    return findings


def _finding(program: Program, optimizer: Optimizer) -> Finding:
    """Wrap an optimizer after the statement that makes it, or where it is made."""
    assert isinstance(optimizer.site, ast.Call)  # noqa: S101 - optimizers are made by calls
    wrap = f"{program.runtime}.DistributedOptimizer"
    statement = program.statement(optimizer.site)
    edits: list[Edit]
    if isinstance(statement, ast.Assign) and statement.value is optimizer.site and len(statement.targets) == 1 and isinstance(
        statement.targets[0], ast.Name | ast.Attribute
    ):
        target = program.source.segment(statement.targets[0])
        edits = [insert_after(program.source, statement, [f"{target} = {wrap}({target})"])]
    else:
        edits = [replace(program.source, optimizer.site, f"{wrap}({program.source.segment(optimizer.site)})")]
    return program.finding(CODE, optimizer.site, "its gradients are not averaged over the workers", edits)
