"""HR301: every optimizer that steps is wrapped."""

from __future__ import annotations

import ast

from hora.convert.edits import insert_after
from hora.convert.finding import Finding
from hora.convert.places import wrap
from hora.convert.program import Program
from hora.convert.values import Foreign, Function, Instance, Method, Optimizer, Scaler, Scheduler, Stream, plain

CODE = "HR301"
TITLE = "every optimizer that steps is wrapped"
WHY = "With only the generator of a GAN wrapped, the discriminators of two workers differ by 5.6e-3 after 3 steps."
MESSAGE = "its gradients are not averaged over the workers"


def detect(program: Program) -> list[Finding]:
    """Find optimizers that step on the gradients of one worker alone."""
    choices: dict[tuple[ast.stmt, str], Optimizer] = {}
    findings: list[Finding] = []
    wrapper = f"{program.runtime}.DistributedOptimizer"
    for optimizer in program.stepping:
        if optimizer.wrapped:
            continue
        found = wrap(program, optimizer, wrapper)
        if found is None:
            message = "it is made in another file, and nothing here names it"
            findings.append(program.finding(CODE, optimizer.site, message, None))
            continue
        statement, edits = found
        if len(edits) > 1:
            findings.append(program.finding(CODE, optimizer.site, MESSAGE, edits))
            continue
        line = edits[0].text.strip()
        target = line.partition(" = ")[0]
        later = _moved_later(program, optimizer, statement, target)
        choices.setdefault((later or _whole_choice(program, statement, target), line), optimizer)
    for (statement, line), optimizer in choices.items():
        edits = [insert_after(program.home(statement), statement, [line])]
        findings.append(program.finding(CODE, optimizer.site, MESSAGE, edits))
    return findings + _unknown(program)


def _moved_later(program: Program, optimizer: Optimizer, statement: ast.stmt, target: str) -> ast.stmt | None:
    """Give the last statement that moves the finished optimizer's parameters to a device.

    It comes before the training, and before the optimizer is handed on: what it is handed to must get the wrapped one.
    """
    roots = {program.root(module) for module in program.facts.trained_by(optimizer)}
    moves = [
        {node, *context}
        for thing, how, node, context in program.facts.changed
        if how == "moved"
        and program.root(thing) in roots
        and program.order(node, context) > program.order(optimizer.site, optimizer.context)
    ]
    last = None
    block = program.block(statement)
    for later in block[block.index(statement) + 1 :]:
        nodes = set(ast.walk(later))
        if any(nodes & {one.node, *one.place.context} for one in program.backwards):
            break
        if any(_hands_on(program, node, target) for node in nodes):
            break
        if any(nodes & move for move in moves):
            last = later
    return last


def _hands_on(program: Program, node: ast.AST, target: str) -> bool:
    """Whether an expression reads a name or attribute whole, and not only something of it."""
    whole = isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load)
    return whole and ast.unparse(node) == target and not isinstance(program.parents[node], ast.Attribute)


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
    known = (Optimizer, Scheduler, Scaler, Stream, Instance, Function)
    findings: dict[Finding, None] = {}
    for call in program.all_calls:
        node = call.node
        if not (
            isinstance(node.func, ast.Attribute)
            and node.func.attr == "step"
            and program.training_loops & set(call.place.loops)
        ):
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
