"""HR603: worker 0 writes, and the others wait before they read."""

from __future__ import annotations

import ast

from hora.convert.edits import insert_after
from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.guards import guarded, runs
from hora.convert.library import SAVERS
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.values import Foreign, Method, Named, Output, WorkerZero

CODE = "HR603"
TITLE = "worker 0 writes, and the others wait before they read"
WHY = "Without it N workers write one file at once, and what is read back may be half of one and half of another."

_READERS = ("torch.load", "numpy.load", "pickle.load", "joblib.load", "json.load")


def detect(program: Program) -> list[Finding]:
    """Find what every worker writes, and files that are read before worker 0 has written them."""
    findings = [
        program.finding(CODE, run[0], "every worker writes this", guarded(program, run))
        for run in runs(program, lambda statement: writes(program, statement))
    ]
    return findings or _waits(program)


def writes(program: Program, statement: ast.stmt) -> bool:
    """Whether a statement writes files and does nothing else."""
    if isinstance(statement, ast.With):
        opens = [item.context_expr for item in statement.items]
        return all(_opens_to_write(program, node) for node in opens) and all(_inert(program, one) for one in statement.body)
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return False
    return any(_writer(program, call) for call in program.calls_by_node.get(statement.value, ()))


def _writer(program: Program, call: Call) -> bool:
    """Whether a call writes a file, and is not as good done by all."""
    for thing in call.function.things:
        if isinstance(thing, Named) and thing.name in SAVERS:
            return not any(keyword.arg == "exist_ok" for keyword in call.node.keywords)
        if isinstance(thing, Method) and isinstance(thing.receiver, Output) and thing.name in ("write", "writelines"):
            return False
        if isinstance(thing, Method) and isinstance(thing.receiver, Foreign) and thing.name in ("savefig", "to_csv", "mkdir"):
            return not any(keyword.arg == "exist_ok" for keyword in call.node.keywords)
    return False


def _opens_to_write(program: Program, node: ast.expr) -> bool:
    """Whether an expression opens a file to write."""
    if not isinstance(node, ast.Call):
        return False
    mode = node.args[1] if len(node.args) > 1 else next((k.value for k in node.keywords if k.arg == "mode"), None)
    opens = any(Named("builtins.open") in value.things for value in program.values(node.func))
    return opens and isinstance(mode, ast.Constant) and isinstance(mode.value, str) and bool(set(mode.value) & set("wax"))


def _inert(program: Program, statement: ast.stmt) -> bool:
    """Whether a statement only calls things: it binds no name and leaves nothing."""
    nodes = list(ast.walk(statement))
    binds = any(isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) for node in nodes)
    leaves = any(isinstance(node, ast.Return | ast.Break | ast.Continue | ast.Yield | ast.YieldFrom) for node in nodes)
    return not leaves and (not binds or isinstance(statement, ast.For))


def _waits(program: Program) -> list[Finding]:
    """Find guarded writes after which another worker may read the file."""
    findings: list[Finding] = []
    order = {call.node: place for place, call in enumerate(program.calls)}
    readers = [call for call in program.calls_of(*_READERS) if not call.place.alone]
    for call in program.calls:
        if not call.place.alone or not any(isinstance(t, Named) and t.name in SAVERS for t in call.function.things):
            continue
        later = [one for one in readers if order[one.node] > order[call.node] or set(one.place.loops) & set(call.place.loops)]
        guard = _guard(program, call.node)
        if not later or guard is None or _followed_by_barrier(program, guard):
            continue
        place = next(iter(program.places(guard)), call.place)
        edits = [insert_after(program.source, guard, [f"{program.runtime}.barrier()"])] if place.control.alike else None
        message = "what worker 0 writes here is read later by all: they wait for it"
        if edits is None:
            message = "what worker 0 may write here is read later by all, who cannot tell whether to wait"
        findings.append(program.finding(CODE, call.node, message, edits))
    return findings


def _guard(program: Program, node: ast.AST) -> ast.If | None:
    """Give the guard that lets worker 0 alone come to a node."""
    for one in program.ancestors(node):
        if isinstance(one, ast.If) and any(WorkerZero() in value.things for value in program.values(one.test)):
            return one
    return None


def _followed_by_barrier(program: Program, guard: ast.If) -> bool:
    """Whether workers wait for each other directly after a guard."""
    block = program.block(guard)
    after = block[block.index(guard) + 1 :][:1]
    return any(
        isinstance(one, ast.Expr)
        and isinstance(one.value, ast.Call)
        and any(Named(f"{NAME}.barrier") in value.things for value in program.values(one.value.func))
        for one in after
    )
