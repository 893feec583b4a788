"""HR207: every use of the batch size follows."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.losses import refusals
from hora.convert.program import Program

CODE = "HR207"
TITLE = "every use of the batch size follows"
WHY = "Labels, noise or hidden states made for the whole batch do not fit a slice of it, or train N times as many."


def detect(program: Program) -> list[Finding]:
    """Find losses that use the batch size that the loader was given."""
    return refusals(program, CODE)
