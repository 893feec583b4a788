"""Say a script that stands on Hora's runtime, as Horovod's did, in torch's own words."""

from __future__ import annotations

import ast

from hora.convert.finding import Finding
from hora.convert.horovod import collectives, optimizers
from hora.convert.horovod.plan import Plan
from hora.convert.imports import full_names
from hora.convert.program import Program
from hora.convert.source import Source


def say(program: Program) -> list[Finding]:
    """Find every use of the runtime, with the edits that say it in torch's words."""
    plans = {source.path: Plan(program, source) for source in program.sources}
    optimizers.say(program, plans)
    for plan in plans.values():
        collectives.say(plan)
    return [finding for plan in plans.values() for finding in plan.finish()]


def names(source: Source) -> frozenset[str]:
    """Give the names that a file has for the runtime and what it takes of it."""
    return frozenset(name for name, full in full_names(source.nodes).items() if full.split(".")[0] == "hora")


def left(source: Source, before: frozenset[str]) -> list[Finding]:
    """Refuse a file that still reads a name that it had for the runtime: nothing that was followed leads there."""
    bound = full_names(source.nodes)
    uses = [
        node
        for node in source.nodes
        if isinstance(node, ast.Name) and node.id in before and not bound.get(node.id, "hora").startswith("torch")
    ]
    message = "nothing that is followed leads here, where the runtime is used: convert to hora"
    return [Finding("HR909", str(source.path), one.lineno, 1, message, None) for one in uses[:1]]
