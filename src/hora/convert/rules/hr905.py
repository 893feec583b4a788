"""HR905: tensors that belong to no network are not converted."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.program import Program

CODE = "HR905"
TITLE = "tensors that belong to no network are not converted"
WHY = "Nothing tells which tensors to make alike at the start."


def detect(program: Program) -> list[Finding]:
    """Find optimizers over tensors of no network."""
    return [
        program.finding(CODE, optimizer.site, "what this optimizer trains belongs to no network that is followed", None)
        for optimizer in program.stepping
        if not program.facts.trained_by(optimizer)
    ]
