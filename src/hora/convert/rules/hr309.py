"""HR309: closures see the reduced loss and gradient."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.program import Program

CODE = "HR309"
TITLE = "closures see the reduced loss and gradient"
WHY = "A line search that decides on its own slice takes another path on each worker, until one waits for ever."


def detect(program: Program) -> list[Finding]:
    """Find optimizers that are given a closure."""
    return [
        program.finding(CODE, event.node, "an optimizer's closure is not converted yet", None)
        for event in program.events
        if event.what == "closure"
    ]
