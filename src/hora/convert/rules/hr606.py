"""HR606: no collective is run by some of the workers alone."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.program import Program

CODE = "HR606"
TITLE = "no collective is run by some of the workers alone"
WHY = "The others wait for it until the job is killed: after 30 minutes, when seen."


def detect(program: Program) -> list[Finding]:
    """Find collectives and training that only worker 0 comes to."""
    return [
        program.finding(CODE, event.node, "worker 0 comes here alone, and would wait for the others", None)
        for event in program.events
        if event.place.alone and event.what in ("collective", "backward", "step")
    ]
