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
    return [finding for plan in plans.values() if plan.uses for finding in plan.finish()]


def left(source: Source) -> list[Finding]:
    """Refuse a file that still names the runtime: nothing that was followed leads there."""
    names = {name for name, full in full_names(source.nodes).items() if full.split(".")[0] == "hora"}
    uses = [node for node in source.nodes if isinstance(node, ast.Name) and node.id in names]
    message = "nothing that is followed leads here, where the runtime is used: convert to hora"
    return [Finding("HR909", str(source.path), one.lineno, 1, message, None) for one in uses[:1]]
