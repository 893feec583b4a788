"""HR311: manual updates act on reduced gradients."""

from __future__ import annotations

import ast

from hora.convert import gradient_hooks
from hora.convert.finding import Finding
from hora.convert.losses import refusals
from hora.convert.program import Program

CODE = "HR311"
TITLE = "manual updates act on reduced gradients"
WHY = "Gradients that no optimizer steps on are never averaged: each worker trains its own model."


def detect(program: Program) -> list[Finding]:
    """Find gradients that are taken or used by hand."""
    findings = refusals(program, CODE)
    if program.backwards and not program.stepping:
        message = "no optimizer that is followed steps on these gradients"
        findings += [program.finding(CODE, program.backwards[0].node, message, None)]
    for statement in program.facts.places:
        if _updates(statement):
            message = "parameters are updated from their gradients by hand: not converted yet"
            findings.append(program.finding(CODE, statement, message, None))
    message = "a hook changes gradients before they are averaged over the workers, and not in proportion"
    findings += [program.finding(CODE, call, message, None) for call in gradient_hooks.bending(program)]
    return list(dict.fromkeys(findings))


def _updates(statement: ast.stmt) -> bool:
    """Whether a statement changes something in place by what it computes from a gradient."""
    if isinstance(statement, ast.AugAssign):
        return _reads_gradient(statement.value) and not _is_gradient(statement.target)
    call = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr.endswith("_"):
        arguments = (*call.args, *(keyword.value for keyword in call.keywords))
        return any(_reads_gradient(one) for one in arguments) and not _is_gradient(call.func.value)
    return False


def _reads_gradient(node: ast.expr) -> bool:
    """Whether an expression reads the gradient of something."""
    return any(isinstance(one, ast.Attribute) and one.attr == "grad" for one in ast.walk(node))


def _is_gradient(node: ast.expr) -> bool:
    """Whether an expression is itself a gradient."""
    return _reads_gradient(node)
