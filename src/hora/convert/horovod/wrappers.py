"""What wrapping a network changes besides: the wrapper is not the network, and reduces only what that had at first."""

from __future__ import annotations

import ast

from hora.convert.edits import Edit
from hora.convert.finding import Finding
from hora.convert.names import PARALLEL
from hora.convert.networks import is_module
from hora.convert.program import Program
from hora.convert.targets import parallel
from hora.convert.values import Class, Function, Parallel, Partial

_CODE = "HR301"
_HARMLESS = (parallel.PASSED_ON - {"forward"}) | parallel.TRAINS_NOTHING


def detect(program: Program) -> list[Finding]:
    """Find what does not go through the wrapper, what it hides, and what it does not know of."""
    if not any(Parallel() in value.things for ways in program.facts.values.values() for value in ways.values()):
        return []
    found = [
        *parallel.detect(program, dealt=False),
        *_past(program),
        *_beside(program),
        *_handed_over(program),
        *_set(program),
        *_unfrozen(program),
    ]
    # What is saved is handed over, too: each edit once.
    once = {one.edits or (one.file, one.line, one.column): one for one in reversed(found)}
    return list(once.values())[::-1]


def _past(program: Program) -> list[Finding]:
    """Refuse layers and methods of wrapped networks that a training loop calls, save on the way through the wrapper."""
    trained = parallel.networks_trained(program)
    wrappers = {call.node for call in program.all_calls if Parallel() in call.function.things}
    found = []
    for call in program.all_calls:
        if not program.training_loops & set(call.place.loops) or wrappers & {call.node, *call.place.context}:
            continue
        if isinstance(call.node.func, ast.Attribute) and call.node.func.attr in _HARMLESS:
            continue
        owners = {parallel.owner(thing) or thing for thing in call.function.things}
        if any(is_module(one) and program.root(one) in trained for one in owners):
            found.append(program.finding(_CODE, call.node, parallel.GOES_PAST, None))
    return found


def _beside(program: Program) -> list[Finding]:
    """Refuse backward passes in whose loop no wrapper is called."""
    calls = [call for call in program.all_calls if Parallel() in call.function.things]
    return [
        program.finding(_CODE, back.node, "no loop over batches that calls the wrapper leads here", None)
        for back in program.backwards
        if not any(set(back.place.loops[-1:]) & set(call.place.loops) for call in calls)
    ]


def _handed_over(program: Program) -> list[Finding]:
    """Hand libraries the network that they had, not its wrapper; in a training loop they may train it."""
    found = []
    for call in program.all_calls:
        if any(isinstance(thing, Function | Class | Partial | Parallel) for thing in call.function.things):
            continue
        given = [*call.node.args, *(one.value for one in call.node.keywords)]
        values = [*call.args, *(value for _, value in call.keywords)]
        for node, value in zip(given, values, strict=False):
            if Parallel() not in value.things or isinstance(node, ast.Starred):
                continue
            if program.training_loops & set(call.place.loops):
                message = "what is done with the wrapper here is not followed: convert to hora"
                found.append(program.finding(_CODE, node, message, None))
            else:
                source = program.home(node)
                end = source.span(node)[1]
                edit = Edit(end, end, ".module", source.path)
                found.append(program.finding(_CODE, node, "it is the network that is meant, not its wrapper", [edit]))
    return found


def _set(program: Program) -> list[Finding]:
    """Refuse attributes that would be set on the wrapper."""
    message = "it would be set on the wrapper, which reduces what the network had before: convert to hora"
    return [
        program.finding(_CODE, node, message, None)
        for node in program.nodes()
        if isinstance(node, ast.Attribute)
        and not isinstance(node.ctx, ast.Load)
        and any(Parallel() in value.things for value in program.values(node.value))
    ]


def _unfrozen(program: Program) -> list[Finding]:
    """Refuse parameters that are frozen or unfrozen once the network is wrapped, which reduces what it found then."""
    wrapped = [program.statement(call.node) for call in program.calls_of(PARALLEL)]
    message = "what is trained changes once the network is wrapped, which its wrapper does not see: convert to hora"
    found = []
    for node in program.nodes():
        how = _changes(node)
        if how is None:
            continue
        near = [one for one in wrapped if program.scope(node) is program.scope(one)]
        later = any(getattr(node, "lineno", 0) > one.lineno for one in near)
        if later or (how and len(near) < len(wrapped)):
            found.append(program.finding(_CODE, node, message, None))
    return found


def _changes(node: ast.AST) -> bool | None:
    """Whether a node lets something be trained that was not, or may do so; None where it says nothing of that."""
    if isinstance(node, ast.Assign):
        if not any(isinstance(one, ast.Attribute) and one.attr == "requires_grad" for one in node.targets):
            return None
        given: ast.expr | None = node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "requires_grad_":
        given = node.args[0] if node.args else None
    else:
        return None
    return not (isinstance(given, ast.Constant) and given.value is False)
