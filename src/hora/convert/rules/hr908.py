"""HR908: what trains can be followed."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.losses import refusals
from hora.convert.program import Program

CODE = "HR908"
TITLE = "what trains can be followed"
WHY = "What is not followed may do anything with the batch, and a wrong guess would still run."


def detect(program: Program) -> list[Finding]:
    """Find losses that come from what is not followed."""
    return [*refusals(program, CODE), *_chosen(program)]


def _chosen(program: Program) -> list[Finding]:
    """Say which modules have been followed where an option names one."""
    return [
        program.finding(CODE, node, f"an option names what is imported here: read were {', '.join(names)}", ())
        for node, names in program.facts.chosen.items()
        if names
    ]
