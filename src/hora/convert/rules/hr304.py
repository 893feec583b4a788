"""HR304: a mean over a count that differs by worker uses the global count."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.losses import refusals
from hora.convert.program import Program

CODE = "HR304"
TITLE = "a mean over a count that differs by worker uses the global count"
WHY = "The mean of two means over 3 and 97 entries weighs the 3 as much as the 97."


def detect(program: Program) -> list[Finding]:
    """Find losses that divide by a number of entries that differs from worker to worker."""
    return refusals(program, CODE)
