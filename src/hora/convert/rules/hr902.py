"""HR902: training on a whole graph is not converted."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.losses import refusals
from hora.convert.program import Program

CODE = "HR902"
TITLE = "training on a whole graph is not converted"
WHY = "A graph's nodes are not independent samples."


def detect(program: Program) -> list[Finding]:
    """Find losses over a whole graph."""
    return refusals(program, CODE)
