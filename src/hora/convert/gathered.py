"""Metrics of a batch that are neither sums nor means, such as a score of another library: of all workers' samples.

``accuracy_score(y.numpy(), guess.numpy())`` becomes ``accuracy_score(loader.gather(y.numpy()), ...)``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hora.convert.edits import Edit, surround
from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.keeping import loader_of_kept
from hora.convert.metrics import dealt
from hora.convert.names import PRINTERS
from hora.convert.program import Program
from hora.convert.spread import Kind
from hora.convert.values import Class, Function, Instance, Named, Shape

_PRINTED = "what is printed of the batch is of the worker's slice"
_MESSAGE = "this is worked out from the samples of the worker's slice, and read as if it were from all"


def gathered_where_worked_out(program: Program) -> list[Finding]:
    """Gather the samples of the batch where something is worked out from them that cannot be reduced afterwards."""
    findings: dict[ast.AST, Finding] = {}
    for node in _worked_out(program):
        edits = _gathered(program, node) if isinstance(node, ast.Call) and node not in findings else None
        if edits:
            findings[node] = program.finding("HR601", node, _MESSAGE, edits)
    return list(findings.values())


def gathered_where_printed(program: Program) -> list[Finding]:
    """Gather the samples of the batch where they, or their number, are printed."""
    findings: dict[ast.AST, Finding] = {}
    for event in program.events:
        call = program.facts.calls.get((event.node, event.place.context)) if event.what == "show" else None
        if call is None or not {Named("builtins.print"), *map(Named, PRINTERS)} & call.function.things:
            continue
        edits: list[Edit] = []
        for node, name in _entries(program, call):
            edits += surround(program.home(node), node, f"{name}.gather(", ")")
        if edits:
            findings[call.node] = program.finding("HR601", call.node, _PRINTED, edits)
    return list(findings.values())


def _entries(program: Program, call: Call) -> Iterator[tuple[ast.expr, str]]:
    """Give the outermost expressions in a call that are entries of samples, with the expression for their loader."""
    left: list[ast.AST] = [*call.node.args]
    while left:
        node = left.pop(0)
        shape = any(isinstance(thing, Shape) for value in program.values(node) for thing in value.things)
        names = {loader_of_kept(program, node, visit) for visit in program.calls_by_node[call.node]}
        name = names.pop() if len(names) == 1 and not shape else None
        if isinstance(node, ast.expr) and name is not None:
            yield node, name
        elif not isinstance(node, ast.Call) or getattr(node.func, "attr", "") != "gather":
            left += ast.iter_child_nodes(node)


def _worked_out(program: Program) -> Iterator[ast.AST]:
    """Give the operations whose results go where only a global value is right."""
    for escape in program.facts.escapes.values():
        for _, value in escape.parts:
            spread = program.deep(value)
            if dealt(spread) and spread.kind is Kind.ROWS:
                yield escape.node
            elif dealt(spread) and spread.kind is Kind.MIXED and spread.why is not None:
                yield spread.why.node


def _gathered(program: Program, node: ast.Call) -> list[Edit] | None:
    """Gather the samples that a call takes; None where it is of the script's own, or takes any that cannot be gathered.

    Every worker has to come there with a batch to train on.
    """
    things = [thing for value in program.values(node.func) for thing in value.things]
    if any(isinstance(thing, Function | Class | Instance) for thing in things):
        return None
    receiver = [node.func.value] if isinstance(node.func, ast.Attribute) else []
    edits: list[Edit] = []
    for part in (*receiver, *node.args, *(keyword.value for keyword in node.keywords)):
        if not any(program.deep(value).local for value in program.values(part)):
            continue
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr == "tolist":
            part = part.func.value
        names = {loader_of_kept(program, part, call) for call in program.calls_by_node[node]}
        name = names.pop() if len(names) == 1 else None
        if name is None:
            return None
        edits += surround(program.home(part), part, f"{name}.gather(", ")")
    return edits
