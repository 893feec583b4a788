"""HR901: reinforcement learning is not converted."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.losses import refusals
from hora.convert.program import Program

CODE = "HR901"
TITLE = "reinforcement learning is not converted"
WHY = "An episode has no batch to deal."


def detect(program: Program) -> list[Finding]:
    """Find losses over episodes of an environment."""
    return refusals(program, CODE)
