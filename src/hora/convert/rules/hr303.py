"""HR303: a sum-reduced loss keeps its scale."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.losses import refusals
from hora.convert.program import Program

CODE = "HR303"
TITLE = "a sum-reduced loss keeps its scale"
WHY = "Averaged over N workers a sum is N times too small. Adam hides it: the curves look right, the gradients are not."


def detect(program: Program) -> list[Finding]:
    """Find losses that are not a mean over the batch."""
    return refusals(program, CODE)
