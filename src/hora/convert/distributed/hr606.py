"""HR606, in a distributed script: no collective is run by some of the workers alone."""

from __future__ import annotations

import ast
from functools import lru_cache

from hora.convert.distributed.guards import Guard, guards
from hora.convert.distributed.library import is_collective
from hora.convert.distributed.script import Script
from hora.convert.finding import Finding

CODE = "HR606"


def detect(script: Script) -> list[Finding]:
    """Find collectives under a test of the rank, or after an early end of some workers."""
    findings = []
    for node, _ in script.calls:
        around = guards(script, node)
        if not around or _matched(script, node, around):
            continue
        name = ast.unparse(node.func)
        if is_collective(script, node):
            message = f"only some of the workers come to {name}(), and wait there for the others"
            findings.append(script.finding(CODE, node, message))
        elif (function := script.local(node)) is not None:
            inner = [
                one
                for one in script.within(function)
                if isinstance(one, ast.Call) and is_collective(script, one) and not guards(script, one)
            ]
            if inner:
                message = f"only some of the workers come to {name}(), which calls {ast.unparse(inner[0].func)}()"
                findings.append(script.finding(CODE, node, message))
    return findings


def _matched(script: Script, node: ast.Call, around: list[Guard]) -> bool:
    """Whether the other workers come to collectives of their own meanwhile, as in pairs of barriers."""
    mine = {(ast.dump(guard.test), guard.passed) for guard in around}
    for one in _meetings(script, script.function(node) or script.source.tree):
        beside = {(ast.dump(guard.test), guard.passed) for guard in guards(script, one)} if one is not node else set()
        if beside and beside != mine and script.name(one.func) == script.name(node.func):
            return True
    return any(_other_branch(script, node, guard) for guard in around)


@lru_cache(maxsize=256)
def _meetings(script: Script, scope: ast.AST) -> list[ast.Call]:
    """Give the calls in a function that are collectives, or of functions of the script."""
    calls = (one for one in ast.walk(scope) if isinstance(one, ast.Call))
    return [one for one in calls if is_collective(script, one) or script.local(one) is not None]


def _other_branch(script: Script, node: ast.Call, guard: Guard) -> bool:
    """Whether the workers that do not pass a test have a branch of their own, with collectives or calls in it."""
    choice = script.parents.get(guard.test)
    if not isinstance(choice, ast.If) or choice not in script.ancestors(node):
        return False
    met = _meetings(script, script.function(node) or script.source.tree)
    other = choice.orelse if guard.passed else choice.body
    return any(one in met for statement in other for one in ast.walk(statement))
