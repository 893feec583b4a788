"""HR309: closures see the reduced loss and gradient."""

from __future__ import annotations

import ast

from hora.convert.edits import Edit
from hora.convert.facts import Event
from hora.convert.finding import Finding
from hora.convert.naming import expression
from hora.convert.products import multiplied
from hora.convert.program import Program
from hora.convert.rules.hr206 import weighed
from hora.convert.spread import Kind
from hora.convert.values import Function, Loader, Method, Optimizer

CODE = "HR309"
TITLE = "closures see the reduced loss and gradient"
WHY = "A line search that decides on its own slice takes another path on each worker, until one waits for ever."

_NOT_FOLLOWED = "what an optimizer's closure gives is not followed"


def detect(program: Program) -> list[Finding]:
    """Find closures that give the loss of the slice; a wrapped optimizer averages what its closure gives."""
    found: dict[Finding, None] = {}
    for event in program.events:
        if event.what == "closure":
            found |= dict.fromkeys(_given_back(program, event))
    return list(found)


def _given_back(program: Program, event: Event) -> list[Finding]:
    """Find what a closure gives back, where it is not yet what the average over the workers needs."""
    call = event.node
    closures = _closures(program, call)
    if closures is None:
        return [program.finding(CODE, call, _NOT_FOLLOWED, None)]
    findings = []
    for closure in closures:
        for node in ast.walk(closure):
            if isinstance(node, ast.Return) and node.value is not None and program.scope(node) is closure:
                findings += _returned(program, event, node.value)
    return findings


def _closures(program: Program, call: ast.AST) -> list[ast.FunctionDef] | None:
    """Give the functions that are handed to a step of an optimizer of torch; None where it may be something else."""
    if not isinstance(call, ast.Call):
        return None
    takers = {
        thing.receiver
        for value in program.values(call.func)
        for thing in value.things
        if isinstance(thing, Method) and isinstance(thing.receiver, Optimizer)
    }
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    things = {thing for one in arguments for value in program.values(one) for thing in value.things}
    nodes = [thing.node for thing in things if isinstance(thing, Function)]
    closures = [node for node in nodes if isinstance(node, ast.FunctionDef) and program.own(node)]
    whole = len(arguments) == 1 and len(closures) == len(things)
    return closures if whole and takers and all(one.maker.startswith("torch.optim.") for one in takers) else None


def _returned(program: Program, event: Event, node: ast.expr) -> list[Finding]:
    """Weigh the loss that a closure gives back, as the one that it goes back from."""
    kinds = {value.spread.kind for value in program.values(node)}
    if kinds <= {Kind.SHARE} or all(value.spread.alike for value in program.values(node)):
        return []
    loaders = frozenset(
        one for value in program.values(node) for one in value.spread.loaders if isinstance(one, Loader)
    )
    if not loaders or len(kinds) != 1 or not kinds <= {Kind.MEAN, Kind.SUM}:
        return [program.finding(CODE, event.node, _NOT_FOLLOWED, None)]
    loops = [one for one, _ in event.place.loops if isinstance(one, ast.For) and node in set(ast.walk(one))]
    names = {
        expression(program, frozenset(loaders), place, [loop.iter for loop in loops[-1:]])
        for place in program.places(program.statement(node))
    }
    name = names.pop() if len(names) == 1 else None
    edits: list[Edit] | None = None
    if name is not None and kinds == {Kind.MEAN}:
        edits = weighed(program, node, name)
    elif name is not None:
        edits = multiplied(program.home(node), node, f"{program.runtime}.size() * bool({name}.weight)")
    return [program.finding(CODE, node, "the optimizer is given the loss of the worker's slice", edits)]
