"""Sets and hashes of strings: their order and value differ from process to process, so that no two workers agree."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hora.convert.edits import replace, surround
from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.values import Named

_KEEP_ORDER = frozenset({"list", "tuple", "enumerate", "zip", "iter", "map", "reversed"})


def unordered(program: Program, code: str) -> list[Finding]:
    """Find what is put in the order of a set, or hangs on the hash of a text.

    Parameters
    ----------
    program
        The script.
    code
        The rule that speaks of it.
    """
    message = "the order of a set of strings differs from worker to worker"
    findings = []
    for node in dict.fromkeys(_iterated(program)):
        parent = program.parents[node]
        edits = surround(program.home(node), node, "sorted(", ")")
        if isinstance(parent, ast.Call) and getattr(parent.func, "id", "") == "list":
            edits = [replace(program.home(parent.func), parent.func, "sorted")]
        findings.append(program.finding(code, node, message, edits))
    for call in program.calls_of("builtins.hash"):
        inside = [one.name for one in program.ancestors(call.node) if isinstance(one, ast.FunctionDef)]
        if "__hash__" not in inside:
            message = "hash() of a text differs from worker to worker: use hashlib, or PYTHONHASHSEED"
            findings.append(program.finding(code, call.node, message, None))
    return findings


def _iterated(program: Program) -> Iterator[ast.expr]:
    """Give the sets whose order is kept."""
    for call in program.all_calls:
        names = {thing.name for thing in call.function.things if isinstance(thing, Named)}
        if names & {f"builtins.{name}" for name in _KEEP_ORDER}:
            if not _sorted(program, call.node):
                yield from (one for one in call.node.args if _is_set(program, one))
    for node in program.facts.values:
        if isinstance(node, ast.ListComp | ast.DictComp) and not _sorted(program, node):
            yield from (one.iter for one in node.generators if _is_set(program, one.iter))


def _sorted(program: Program, node: ast.AST) -> bool:
    """Whether what keeps the order of a set is sorted, counted or made a set again."""
    parent = program.parents[node]
    return isinstance(parent, ast.Call) and getattr(parent.func, "id", "") in (
        "sorted",
        "len",
        "set",
        "sum",
        "max",
        "min",
    )


def _is_set(program: Program, node: ast.expr, seen: frozenset[str] = frozenset()) -> bool:
    """Whether an expression is a set of what may be strings."""
    if isinstance(node, ast.SetComp):
        return True
    if isinstance(node, ast.Call):
        return getattr(node.func, "id", "") in ("set", "frozenset") and bool(node.args)
    if isinstance(node, ast.BinOp):
        return _is_set(program, node.left, seen) or _is_set(program, node.right, seen)
    if isinstance(node, ast.Name) and node.id not in seen:
        scope = program.scope(node)
        given = [
            one.value
            for one in ast.walk(scope)
            if isinstance(one, ast.Assign)
            and any(isinstance(target, ast.Name) and target.id == node.id for target in one.targets)
        ]
        return bool(given) and any(
            not isinstance(one, ast.Name) and _is_set(program, one, seen | {node.id}) for one in given
        )
    return False
