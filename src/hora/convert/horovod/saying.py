"""Say a script that stands on Hora's runtime, as Horovod's did, in torch's own words."""

from __future__ import annotations

import ast

from hora.convert.finding import Finding
from hora.convert.horovod import collectives, optimizers
from hora.convert.horovod.modules import CODE
from hora.convert.horovod.plan import Plan
from hora.convert.imports import full_names
from hora.convert.program import Program
from hora.convert.rules import hr903, hr905, hr908, hr909
from hora.convert.source import Source
from hora.convert.targets import closures, parallel
from hora.convert.values import Parallel

_OWN = frozenset({"init_process_group", "DistributedDataParallel", "FullyShardedDataParallel", "fully_shard"})


def gates(program: Program) -> list[Finding]:
    """Refuse scripts that are not followed to their training, or that wrapping a network does not train alike."""
    found = [one for rule in (hr903, hr905, hr908, hr909) for one in rule.detect(program) if one.refusal]
    found += closures(program)
    for source in program.sources:
        for node in source.nodes:
            if (
                isinstance(node, ast.Attribute | ast.Name)
                and (node.attr if isinstance(node, ast.Attribute) else node.id) in _OWN
            ):
                message = f"it trains on many workers in another way, too, by {ast.unparse(node)}"
                found.append(program.finding(CODE, node, message, None))
            if isinstance(node, ast.Try) and any(_imports(one) for one in node.body):
                message = "the script goes on without Horovod: which of its ways it takes is known when it runs"
                found.append(program.finding(CODE, node, message, None))
            if isinstance(node, ast.ImportFrom) and _imports(node) and node.names[0].name == "*":
                found.append(program.finding(CODE, node, "import the names that are used", None))
    return found


def _imports(node: ast.AST) -> bool:
    """Whether a node imports the runtime."""
    return any(name.split(".")[0] == "hora" for name in full_names([node]).values())


def say(program: Program) -> list[Finding]:
    """Find every use of the runtime, with the edits that say it in torch's words."""
    plans = {source.path: Plan(program, source) for source in program.sources}
    optimizers.wrapped(program, plans)
    for plan in plans.values():
        collectives.say(plan)
    return [finding for plan in plans.values() if plan.uses for finding in plan.finish()]


def complete(program: Program) -> list[Finding]:
    """Find what a script in torch's words must do besides, as it is followed again."""
    return [*parallel.detect(program, dealt=False), *_beside(program)]


def _beside(program: Program) -> list[Finding]:
    """Refuse backward passes in whose loop no wrapper is called, though networks are wrapped."""
    calls = [call for call in program.all_calls if Parallel() in call.function.things]
    if not any(Parallel() in value.things for ways in program.facts.values.values() for value in ways.values()):
        return []
    return [
        program.finding("HR301", back.node, "no loop over batches that calls the wrapper leads here", None)
        for back in program.backwards
        if not any(set(back.place.loops[-1:]) & set(call.place.loops) for call in calls)
    ]


def left(source: Source) -> list[Finding]:
    """Refuse a file that still names the runtime: nothing that was followed leads there."""
    names = {name for name, full in full_names(source.nodes).items() if full.split(".")[0] == "hora"}
    uses = [node for node in source.nodes if isinstance(node, ast.Name) and node.id in names]
    message = "nothing that is followed leads here, where the runtime is used: convert to hora"
    return [Finding("HR909", str(source.path), one.lineno, 1, message, None) for one in uses[:1]]
