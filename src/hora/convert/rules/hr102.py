"""HR102: a worker uses its own device."""

from __future__ import annotations

import ast

from hora.convert.edits import insert_after
from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.runtime import NAME

CODE = "HR102"
TITLE = "a worker uses its own device"
WHY = "Without it all workers share GPU 0: N times its memory, and slower than one."


def detect(program: Program) -> list[Finding]:
    """Find a script that can use CUDA and does not choose the worker's own GPU."""
    mentions = any(
        (isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("cuda"))
        or (isinstance(node, ast.Attribute) and node.attr == "cuda")
        for node in ast.walk(program.source.tree)
    )
    if not mentions or any(program.calls_of("torch.cuda.set_device")):
        return []
    for call in program.calls_of(f"{NAME}.init"):
        statement = program.statement(call.node)
        lines = ["if torch.cuda.is_available():", f"{program.source.indent}torch.cuda.set_device({program.runtime}.local_rank())"]
        edit = insert_after(program.source, statement, lines)
        return [program.finding(CODE, statement, "no GPU of its own is chosen for each worker", [edit])]
    return []
