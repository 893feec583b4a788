"""HR205: batches made by hand are sliced from one global draw."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.losses import refusals
from hora.convert.program import Program

CODE = "HR205"
TITLE = "batches made by hand are sliced from one global draw"
WHY = "Drawn on each worker for itself, the same samples are trained on N times and others never."


def detect(program: Program) -> list[Finding]:
    """Find batches that no DataLoader hands out."""
    return refusals(program, CODE)
