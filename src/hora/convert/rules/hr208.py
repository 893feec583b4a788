"""HR208: one worker downloads or writes caches first."""

from __future__ import annotations

import ast

from hora.convert.finding import Finding
from hora.convert.program import Program

CODE = "HR208"
TITLE = "one worker downloads or writes caches first"
WHY = "N workers that download at once write the same file N times over, and one reads it half written."


def detect(program: Program) -> list[Finding]:
    """Note data that every worker downloads where it is missing."""
    message = "where the data is missing, every worker downloads it at once: start once with one worker to fetch it"
    for call in program.all_calls:
        for keyword in call.node.keywords:
            if keyword.arg == "download" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True:
                return [program.finding(CODE, call.node, message, ())]
    return []
