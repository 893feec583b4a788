"""HR909: the training loop is reached."""

from __future__ import annotations

import ast

from hora.convert.finding import Finding
from hora.convert.program import Program

CODE = "HR909"
TITLE = "the training loop is reached"
WHY = "What nothing in the file calls is called from elsewhere, with what is not known here."


def detect(program: Program) -> list[Finding]:
    """Find backward passes that no way through the file leads to, in functions that are not simply unused."""
    reached = {backward.node for backward in program.backwards}
    message = "the training loop is in a file that the script imports, which is not edited yet"
    findings = [program.finding(CODE, node, message, None) for node in reached if not program.own(node)]
    for node in ast.walk(program.source.tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "backward"):
            continue
        if node not in reached and (not reached or _mentioned(program, node)):
            message = "nothing in this file leads to this training loop: convert the script that starts it"
            findings.append(program.finding(CODE, node, message, None))
    return findings


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
