"""HR401: the learning rate goes with the global batch."""

from __future__ import annotations

import ast

from hora.convert import rates
from hora.convert.edits import Edit, lines, replace
from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.values import Named, Optimizer, plain

CODE = "HR401"
TITLE = "the learning rate goes with the global batch"
WHY = (
    "Strong scaling leaves the global batch as it was, so that N times the rate is N times too much. Weak scaling makes"
    " it N times as large, with a gradient of less noise: N times the rate, reached over the first epochs."
)


def detect(program: Program) -> list[Finding]:
    """Find learning rates that grow with the number of workers although the global batch does not."""
    findings: list[Finding] = []
    if program.weak:
        return _weak(program)
    if not program.dealt:
        return findings
    for call in program.all_calls:
        made = [thing for thing in call.result.things if isinstance(thing, Optimizer) and thing.site is call.node]
        if not made or not any(value.world for value in (*call.args, *(value for _, value in call.keywords))):
            continue
        products = [node for node in program.nodes() if _scales(program, node)]
        message = "the learning rate is multiplied by the number of workers, and the global batch is not"
        edits = [_without(program, node) for node in products]
        findings.append(program.finding(CODE, call.node, message, edits or None))
    return findings


def _weak(program: Program) -> list[Finding]:
    """Find optimizers whose rate is not the one for N times the batch."""
    findings = [program.finding(CODE, node, message, None) for node, message in rates.absolute(program)]
    if findings:
        return list(dict.fromkeys(findings))
    for optimizer in program.stepping:
        made = program.calls_by_node.get(optimizer.site, ())
        if any(value.world for call in made for value in (*call.args, *(value for _, value in call.keywords))):
            continue
        edits = rates.scaled(program, optimizer)
        message = "the global batch is N times as large, and the learning rate is not"
        why, what = (edits, None) if isinstance(edits, str) else (message, edits)
        findings.append(program.finding(CODE, optimizer.site, why, what))
    if findings or not program.dealt:
        return findings
    for call in program.calls_of(f"{NAME}.DistributedOptimizer"):
        if not _warm(program, call):
            edits = rates.warmed(program, call)
            message = "the learning rate is N times as large from the first step on"
            why, what = (edits, None) if isinstance(edits, str) else (message, edits)
            findings.append(program.finding(CODE, call.node, why, what))
    return findings


def _warm(program: Program, wrap: Call) -> bool:
    """Whether a scheduler that begins at a part of the rate is made for a wrapped optimizer."""
    wrapped = {plain(one) for one in wrap.result.things}
    for call in program.calls_of("torch.optim.lr_scheduler.LinearLR"):
        things = {plain(one) for value in call.args for one in value.things}
        if wrapped & things and any(value.world for value in call.args):
            return True
    return False


def _scales(program: Program, node: ast.AST) -> bool:
    """Whether a node multiplies something by the number of workers."""
    if isinstance(node, ast.AugAssign):
        return isinstance(node.op, ast.Mult) and _is_size(program, node.value)
    sides = (node.left, node.right) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) else ()
    return any(_is_size(program, side) for side in sides)


def _without(program: Program, node: ast.AST) -> Edit:
    """Take the number of workers out of a product, and the statement away where nothing is left of it."""
    source = program.home(node)
    statement = program.statement(node)
    kept = _kept(program, node) if isinstance(node, ast.BinOp) else ""
    targets = [ast.unparse(target) for target in statement.targets] if isinstance(statement, ast.Assign) else [kept]
    if statement is node or (isinstance(statement, ast.Assign) and statement.value is node and targets == [kept]):
        return lines(source, statement.lineno, statement.end_lineno or statement.lineno)
    assert isinstance(node, ast.BinOp)
    return replace(source, node, kept)


def _is_size(program: Program, node: ast.expr) -> bool:
    """Whether an expression is the number of workers."""
    if not isinstance(node, ast.Call):
        return False
    return any(Named(f"{NAME}.size") in value.things for value in program.values(node.func))


def _kept(program: Program, node: ast.BinOp) -> str:
    """Give the factor that is not the number of workers."""
    return program.home(node).segment(node.right if _is_size(program, node.left) else node.left)
