"""Networks that worker 0 sends to the others, in torch's own words: they are wrapped where they are sent."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from hora.convert.distributed.script import keyword
from hora.convert.edits import Edit
from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.horovod.plan import Plan
from hora.convert.horovod.words import WORDS
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.targets.parallel import networks_trained, wrap
from hora.convert.targets.words import Needs
from hora.convert.values import Foreign, Module, Optimizer, Parameters, Thing, Value, Weights


def wrapped(program: Program, plans: dict[Path, Plan]) -> dict[Thing, Call]:
    """Wrap networks where worker 0 sends them; give each with the call that does."""
    needs = Needs()
    sent = _sent(program, plans)
    options = ", broadcast_buffers=False" if _buffers(program) else ""
    for finding in dict.fromkeys(wrap(program, WORDS, needs, options)):
        plan = next(one for path, one in plans.items() if str(path) == finding.file)
        plan.findings.append(_sends_all(program, plan, finding) if finding.code == "HR302" else finding)
    for plan in plans.values():
        plan.wraps = plan.source.path in needs.wrappers
        for call in {one.node: one for one in sent.values()}.values() if options else ():
            if program.home(call.node) is plan.source and _networks(program, call.args[:1]) & networks_trained(program):
                _send_buffers(program, plan, call)
    return sent


def _sends_all(program: Program, plan: Plan, finding: Finding) -> Finding:
    """Say that worker 0 sends a network that is not trained, by the file's own name for torch's module."""
    name = f"{WORDS.name_in(program)}."
    edits = tuple(replace(one, text=one.text.replace(name, f"{plan.name}.")) for one in finding.edits or ())
    return replace(finding, edits=edits)


def _send_buffers(program: Program, plan: Plan, call: Call) -> None:
    """Send a network's buffers before it is wrapped: the wrapper leaves each worker its own."""
    if not _is_state(call.node):
        return
    statement = program.statement(call.node)
    network = plan.source.segment(call.node.args[0]).removesuffix(".state_dict()")
    lines = [f"for buffer in {network}.buffers():", f"{plan.source.indent}{plan.name}.broadcast(buffer, src=0)"]
    at = plan.source.starts[statement.lineno - 1]
    text = "".join(plan.source.margin(statement) + line + plan.source.newline for line in lines)
    plan.edit("HR302", call.node, "worker 0 sends the buffers, too", Edit(at, at, text, plan.source.path))


def _sent(program: Program, plans: dict[Path, Plan]) -> dict[Thing, Call]:
    """Give the networks that worker 0 sends to the others, each with where it does, and refuse what is unclear."""
    found: dict[Thing, Call] = {}
    reached = {call.node: call for call in program.calls_of(f"{NAME}.broadcast_parameters")}
    distributed = _distributed(program)
    for plan in plans.values():
        for node in plan.calls_of("broadcast_parameters"):
            call = reached.get(node)
            networks = _networks(program, call.args[:1]) if call is not None else set()
            root = keyword(node, "root_rank", 1)
            if call is None or not networks:
                plan.refuse("HR302", node, "what worker 0 sends here is not followed: convert to hora")
            elif root is None or not all(_is_zero(one) for one in plan.script.origins(root)):
                plan.refuse("HR302", node, "torch's wrapper sends worker 0's weights, and no other's: convert to hora")
            elif call.place.loops or networks & found.keys():
                plan.refuse("HR302", node, "the network is sent more than once, and wrapped once: convert to hora")
            elif networks & networks_trained(program) - distributed:
                message = "an optimizer trains it that is no DistributedOptimizer: its gradients would be averaged"
                plan.refuse("HR301", node, message)
            elif not networks <= distributed and not _is_state(node):
                plan.refuse("HR302", node, "say it with state_dict(): it is trained by no DistributedOptimizer")
            elif not isinstance(plan.source.parents[node], ast.Expr):
                plan.refuse("HR302", node, "it stands in an expression: give it a line of its own")
            else:
                found |= dict.fromkeys(networks, call)
                plan.done |= set(ast.walk(node))
    return found


def _distributed(program: Program) -> set[Thing]:
    """Give the networks whose optimizers Horovod wraps."""
    wrapped = (
        one
        for call in program.calls_of(f"{NAME}.DistributedOptimizer")
        for one in call.result.things
        if isinstance(one, Optimizer)
    )
    return {program.root(one) for optimizer in wrapped for one in program.facts.trained_by(optimizer)}


def _networks(program: Program, values: Iterable[Value]) -> set[Thing]:
    """Give the networks whose weights some values hold."""
    things = (thing for value in values for thing in value.things)
    return {program.root(thing.module) for thing in things if isinstance(thing, Weights | Parameters)}


def _is_zero(node: ast.expr) -> bool:
    """Whether an expression is worker 0's number."""
    return isinstance(node, ast.Constant) and node.value == 0


def _is_state(call: ast.Call) -> bool:
    """Whether what a call is given first is a state dict."""
    given = call.args[0] if call.args else None
    return isinstance(given, ast.Call) and isinstance(given.func, ast.Attribute) and given.func.attr == "state_dict"


def _buffers(program: Program) -> bool:
    """Whether a network may hold buffers, such as the statistics of BatchNorm, that torch's wrapper would send."""
    words = ("BatchNorm", "InstanceNorm", "register_buffer", "Buffer(", "spectral_norm")
    if any(word in source.text for word in words for source in program.sources):
        return True
    made = [*program.facts.made, *networks_trained(program)]
    return any(
        isinstance(one, Foreign) or (isinstance(one, Module) and not one.maker.startswith("torch.nn.")) for one in made
    )
