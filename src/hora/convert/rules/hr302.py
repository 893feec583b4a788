"""HR302: all workers start from equal parameters, buffers and optimizer state."""

from __future__ import annotations

import ast

from hora.convert.edits import insert_after
from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.values import Optimizer, Thing, Weights, plain

CODE = "HR302"
TITLE = "all workers start equal"
WHY = "Averaged gradients keep equal models equal and different ones different: N models are trained, and one is saved."


def detect(program: Program) -> list[Finding]:
    """Find models and optimizers that train without a common start."""
    sent: set[Thing] = set()
    for call in program.calls_of(f"{NAME}.broadcast_parameters", f"{NAME}.broadcast_optimizer_state"):
        for thing in call.args[0].things if call.args else ():
            sent.add(thing.module if isinstance(thing, Weights) else thing)
    findings: list[Finding] = []
    for optimizer in program.stepping:
        if not optimizer.wrapped:
            continue
        lines: list[str] = []
        place = program.facts.made[plain(optimizer)]
        modules = {program.root(module): None for module in program.facts.trained_by(optimizer)}
        for module in modules:
            if module not in sent:
                name = program.expression(frozenset({module}), place, optimizer.site)
                lines.append(f"{program.runtime}.broadcast_parameters({name}.state_dict(), root_rank=0)")
        if optimizer not in sent:
            name = program.expression(frozenset({optimizer}), place)
            lines.append(f"{program.runtime}.broadcast_optimizer_state({name}, root_rank=0)")
        if lines:
            statement = _after(program, optimizer)
            edit = insert_after(program.source, statement, lines)
            findings.append(program.finding(CODE, optimizer.site, "workers do not start from one state", [edit]))
    return findings


def _after(program: Program, optimizer: Optimizer) -> ast.stmt:
    """Give the statement after which the optimizer and its models are as they will be trained."""
    for call in program.calls_of(f"{NAME}.DistributedOptimizer"):
        if optimizer in call.result.things:
            return program.statement(call.node)
    return program.statement(optimizer.site)
