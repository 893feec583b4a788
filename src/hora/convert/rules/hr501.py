"""HR501: dropout and augmentation differ from worker to worker."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.values import Module

CODE = "HR501"
TITLE = "dropout and augmentation differ from worker to worker"
WHY = "Seeded alike, the same entries of each slice are dropped."


def detect(program: Program) -> list[Finding]:
    """Note that a seed makes dropout alike on all workers."""
    if not program.facts.seeded:
        return []
    message = "seeded alike, the workers drop the same entries of their slices: right on average, not sample by sample"
    for call in program.all_calls:
        for thing in call.result.things:
            if isinstance(thing, Module) and thing.site is call.node and "Dropout" in thing.maker:
                return [program.finding(CODE, program.facts.seeded[0], message, ())]
    return []
