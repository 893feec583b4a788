"""HR301: every optimizer that steps is wrapped."""

from __future__ import annotations

import ast

from hora.convert.edits import Edit, insert_after, replace
from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.values import Foreign, Function, Instance, Method, Optimizer, Scaler, Scheduler, Stream, plain

CODE = "HR301"
TITLE = "every optimizer that steps is wrapped"
WHY = "With only the generator of a GAN wrapped, the discriminators of two workers differ by 5.6e-3 after 3 steps."


def detect(program: Program) -> list[Finding]:
    """Find optimizers that step on the gradients of one worker alone."""
    bare = [optimizer for optimizer in program.stepping if not optimizer.wrapped]
    choices: dict[tuple[ast.stmt, str], list[Optimizer]] = {}
    findings: list[Finding] = []
    for optimizer in bare:
        statement = program.statement(optimizer.site)
        target = _target(program, statement, optimizer)
        if target is None:
            text = f"{program.runtime}.DistributedOptimizer({program.source.segment(_call(optimizer))})"
            findings.append(_finding(program, optimizer, [replace(program.source, _call(optimizer), text)]))
        else:
            choices.setdefault((_whole_choice(program, statement, target), target), []).append(optimizer)
    for (statement, target), optimizers in choices.items():
        line = f"{target} = {program.runtime}.DistributedOptimizer({target})"
        findings.append(_finding(program, optimizers[0], [insert_after(program.source, statement, [line])]))
    return findings + _unknown(program)


def _finding(program: Program, optimizer: Optimizer, edits: list[Edit]) -> Finding:
    """Make the finding of an optimizer that is not wrapped."""
    return program.finding(CODE, optimizer.site, "its gradients are not averaged over the workers", edits)


def _call(optimizer: Optimizer) -> ast.Call:
    """Give the call that makes an optimizer."""
    assert isinstance(optimizer.site, ast.Call)
    return optimizer.site


def _target(program: Program, statement: ast.stmt, optimizer: Optimizer) -> str | None:
    """Give the one name or attribute that a statement binds an optimizer to."""
    if isinstance(statement, ast.Assign) and statement.value is optimizer.site and len(statement.targets) == 1:
        target = statement.targets[0]
        if isinstance(target, ast.Name | ast.Attribute):
            return program.source.segment(target)
    return None


def _whole_choice(program: Program, statement: ast.stmt, target: str) -> ast.stmt:
    """Give the outermost ``if`` of which every branch makes the target, or the statement itself."""
    whole = statement
    for outer in program.ancestors(statement):
        if not isinstance(outer, ast.If) or not _makes(outer, target):
            break
        whole = outer
    return whole


def _makes(choice: ast.If, target: str) -> bool:
    """Whether each branch of a choice makes the target, or goes no further."""
    return all(
        any(
            (isinstance(one, ast.Assign) and [ast.unparse(name) for name in one.targets] == [target])
            or (isinstance(one, ast.If) and _makes(one, target))
            or isinstance(one, ast.Raise)
            for one in branch
        )
        for branch in (choice.body, choice.orelse)
    )


def _unknown(program: Program) -> list[Finding]:
    """Find steps in the training of what may be an optimizer, and is not known to be."""
    loops = {loop for backward in program.backwards for loop in backward.place.loops[-1:]}
    known = (Optimizer, Scheduler, Scaler, Stream, Instance, Function)
    findings: dict[Finding, None] = {}
    for call in program.calls:
        node = call.node
        if not (isinstance(node.func, ast.Attribute) and node.func.attr == "step" and loops & set(call.place.loops)):
            continue
        receivers = [thing.receiver if isinstance(thing, Method) else thing for thing in call.function.things]
        if receivers and all(isinstance(one, known) for one in receivers):
            continue
        if receivers and all(isinstance(one, Foreign) and _schedules(program, one) for one in receivers):
            continue
        message = "what steps here is made outside this file, and may be an optimizer"
        findings[program.finding(CODE, node, message, None)] = None
    return list(findings)


def _schedules(program: Program, thing: Foreign) -> bool:
    """Whether an object of a library was made from an optimizer, as a scheduler is."""
    return any(
        isinstance(plain(one), Optimizer)
        for call in program.calls_by_node.get(thing.site, ())
        for value in (*call.args, *(value for _, value in call.keywords))
        for one in value.things
    )
