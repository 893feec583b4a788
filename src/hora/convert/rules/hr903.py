"""HR903: optimizers inside of layers are not converted."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.networks import is_module
from hora.convert.program import Program

CODE = "HR903"
TITLE = "optimizers inside of layers are not converted"
WHY = "A layer that trains itself hides its parameters from the network's start and from its checkpoints."


def detect(program: Program) -> list[Finding]:
    """Find optimizers that a network or layer keeps."""
    return [
        program.finding(CODE, optimizer.site, "a layer has an optimizer of its own: not converted", None)
        for optimizer in program.stepping
        if any(
            is_module(owner) and any(optimizer in value.things for value in names.values())
            for owner, names in program.facts.bindings.items()
        )
    ]
