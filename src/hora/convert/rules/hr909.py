"""HR909: the training loop is reached."""

from __future__ import annotations

import ast

from hora.convert.entries import entries
from hora.convert.finding import Finding
from hora.convert.program import Program

CODE = "HR909"
TITLE = "the training loop is reached"
WHY = "What nothing in the file calls is called from elsewhere, with what is not known here."


def detect(program: Program) -> list[Finding]:
    """Find backward passes that no way through the script leads to, in functions that are not simply unused."""
    reached = {backward.node for backward in program.backwards}
    findings: list[Finding] = []
    for node in (node for source in program.sources for node in source.nodes):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "backward"):
            continue
        if not reached or (program.own(node) and node not in reached and _mentioned(program, node)):
            findings.append(program.finding(CODE, node, _message(program, node), None))
    return findings


def _message(program: Program, node: ast.AST) -> str:
    """Say that nothing leads to a training loop, and what does."""
    file = "this file" if program.own(node) else program.source.path.name
    message = f"nothing in {file} leads to this training loop"
    others = [str(path) for path in entries([program.source.path])]
    if not others:
        return f"{message}: convert the script that starts it"
    shown = ", ".join(others[:4]) + (f" and {len(others) - 4} more" if len(others) > 4 else "")
    return f"{message}: convert a script that starts it, such as {shown}"


def _mentioned(program: Program, node: ast.AST) -> bool:
    """Whether the function or class that a node is in is used somewhere."""
    for owner in program.ancestors(node):
        if isinstance(owner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            uses = (
                other
                for other in ast.walk(program.source.tree)
                if (isinstance(other, ast.Name) and other.id == owner.name and isinstance(other.ctx, ast.Load))
                or (isinstance(other, ast.Attribute) and other.attr == owner.name)
            )
            return any(owner not in program.ancestors(use) for use in uses)
    return True
