"""HR311: manual updates act on reduced gradients."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.losses import refusals
from hora.convert.program import Program

CODE = "HR311"
TITLE = "manual updates act on reduced gradients"
WHY = "Gradients that no optimizer steps on are never averaged: each worker trains its own model."


def detect(program: Program) -> list[Finding]:
    """Find gradients that are taken or used by hand."""
    return refusals(program, CODE)
