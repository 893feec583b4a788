"""What Horovod's optimizer asks of a script that Hora's does not: one backward pass before each step, and its order."""

from __future__ import annotations

import ast

from hora.convert.edits import Edit, guard, insert_after
from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.naming import expression
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.values import Made, Method, Optimizer, Scaler, Thing, plain


def detect(program: Program) -> list[Finding]:
    """Find where Horovod asserts, and where gradients are read before the step."""
    steps = _steps(program)
    return asserted(program) or [*_named(program), *_synchronised(program, steps)]


def asserted(program: Program) -> list[Finding]:
    """Refuse what Horovod's optimizer raises at: several backward passes before a step, or of several optimizers."""
    steps = _steps(program)
    if any(not _stepped(one) & _stepped(steps[0]) for one in steps[1:]):
        message = "Horovod's raises where a backward pass fills the gradients of another optimizer: convert to hora"
        return [program.finding("HR301", program.stepping[1].site, message, None)]
    backwards = list(dict.fromkeys(one.node for one in program.backwards))
    message = "Horovod's optimizer raises where it goes back more than once before a step: convert to hora"
    if len(backwards) > 1:
        return [program.finding("HR307", backwards[1], message, None)]
    loops = {loop for loop, _ in program.training_loops}
    for step in steps:
        chain = list(program.ancestors(step.node))
        inside = next((place for place, node in enumerate(chain) if node in loops), len(chain))
        within = {loop for loop, _ in step.place.loops[-1:]}
        if within != loops or any(isinstance(node, ast.If) for node in chain[:inside]):
            return [program.finding("HR307", step.node, message, None)]
    return []


def _steps(program: Program) -> list[Call]:
    """Give the calls that step an optimizer, by itself or through a scaler."""
    found: dict[ast.AST, Call] = {}
    for call in program.all_calls:
        if isinstance(call.node.func, ast.Attribute) and call.node.func.attr == "step":
            receivers = [one.receiver for one in call.function.things if isinstance(one, Method)]
            if any(isinstance(one, Optimizer | Scaler) for one in receivers):
                found[call.node] = call
    return list(found.values())


def _stepped(step: Call) -> frozenset[Thing]:
    """Give the optimizers that a call may step, by itself or through a scaler: a choice of several is one."""
    receivers = (one.receiver for one in step.function.things if isinstance(one, Method))
    given = (thing for value in step.args for thing in value.things)
    return frozenset(plain(one) for one in (*receivers, *given) if isinstance(one, Optimizer))


def _named(program: Program) -> list[Finding]:
    """Give the optimizer the names of the parameters, by which Horovod tells of them."""
    findings = []
    for call in program.calls_of(f"{NAME}.DistributedOptimizer"):
        optimizers = [one for one in call.result.things if isinstance(one, Optimizer)]
        networks = {program.root(one) for optimizer in optimizers for one in program.facts.trained_by(optimizer)}
        name = None
        if len(networks) == 1 and all(isinstance(one, Made) for one in networks):
            name = expression(program, frozenset(networks), call.place, [], program.statement(call.node))
        if name is not None:
            source = program.home(call.node)
            at = source.span(call.node.args[0])[1]
            edit = Edit(at, at, f", named_parameters={name}.named_parameters()", source.path)
            findings.append(
                program.finding("HR301", call.node, "its gradients are not averaged over the workers", [edit])
            )
    return findings


def _synchronised(program: Program, steps: list[Call]) -> list[Finding]:
    """Reduce the gradients before they are read, where something reads them before the step."""
    called = [ast.unparse(call.node.func) for call in program.all_calls]
    read = any("clip_grad" in name or name.endswith(".unscale_") for name in called)
    methods = [one for step in steps for one in step.function.things if isinstance(one, Method)]
    if not read and not any(isinstance(one.receiver, Scaler) for one in methods):
        return []
    message = "gradients are read before the step, which is where Horovod reduces them"
    back = program.backwards[0]
    if len(steps) != 1 or program.scope(steps[0].node) is not program.scope(back.node):
        return [program.finding("HR306", back.node, "the step is taken elsewhere than the backward pass", None)]
    step = steps[0]
    given = [*step.node.args, step.node.func.value] if isinstance(step.node.func, ast.Attribute) else []
    named = [
        node
        for node in given
        if any(isinstance(one, Optimizer) for value in program.values(node) for one in value.things)
    ]
    if not named:
        return [program.finding("HR306", step.node, "the optimizer has no name here", None)]
    name = program.home(step.node).segment(named[0])
    backward, stepping = program.statement(back.node), program.statement(step.node)
    edits = [insert_after(program.home(backward), backward, [f"{name}.synchronize()"])]
    under = guard(program.home(stepping), [stepping], "")
    margin = program.home(stepping).margin(stepping)
    header = f"{margin}with {name}.skip_synchronize():{program.home(stepping).newline}"
    edits += [Edit(under[0].start, under[0].end, header, under[0].path), *under[1:]]
    return [program.finding("HR306", back.node, message, edits)]
