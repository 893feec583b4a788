"""HR307: accumulation windows keep their weights."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.losses import refusals
from hora.convert.program import Program

CODE = "HR307"
TITLE = "accumulation windows keep their weights"
WHY = "Batches of different sizes, added up before one backward pass, need their weights one by one."


def detect(program: Program) -> list[Finding]:
    """Find losses added up over several batches before one backward pass."""
    return refusals(program, CODE)
