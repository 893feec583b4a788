"""HR401: strong scaling leaves the learning rate as it is."""

from __future__ import annotations

import ast

from hora.convert.edits import Edit, lines, replace
from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.values import Named, Optimizer

CODE = "HR401"
TITLE = "strong scaling leaves the learning rate as it is"
WHY = "The global batch is what it was, so N times the rate is N times too much."


def detect(program: Program) -> list[Finding]:
    """Find learning rates that grow with the number of workers although the global batch does not."""
    findings: list[Finding] = []
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
