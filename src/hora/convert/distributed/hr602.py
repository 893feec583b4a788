"""HR602, in a distributed script: worker 0 speaks."""

from __future__ import annotations

import ast
import re

from hora.convert.distributed.guards import is_rank, on_all, quiet
from hora.convert.distributed.script import Script
from hora.convert.finding import Finding

CODE = "HR602"
_OWN = re.compile(r"rank|gpu|worker|proc|host|pid|device|node", re.IGNORECASE)


def detect(script: Script) -> list[Finding]:
    """Find lines that every worker prints in its training loop, and that do not say which worker speaks."""
    if not script.starts or quiet(script) or "redirect_stdout" in script.source.text:
        return []
    findings = []
    for node in script.calls_of("print"):
        loops = script.loops(node)
        if not loops or not any(script.trains(loop) for loop in loops) or _OWN.search(ast.unparse(node)):
            continue
        if any(isinstance(one, ast.expr) and is_rank(script, one) for one in ast.walk(node)):
            continue
        if on_all(script, node):
            findings.append(script.finding(CODE, node, "every worker prints this line"))
    return findings
