"""Metrics of a batch that are neither sums nor means, such as a score of another library: of all workers' samples.

``accuracy_score(y.numpy(), guess.numpy())`` becomes ``accuracy_score(loader.gather(y.numpy()), ...)``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hora.convert.edits import Edit
from hora.convert.finding import Finding
from hora.convert.keeping import gathered
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
        edits = list(_entries(program, call.node))
        if edits:
            findings[call.node] = program.finding("HR601", call.node, _PRINTED, edits)
    return list(findings.values())


def _entries(program: Program, call: ast.Call) -> Iterator[Edit]:
    """Gather the outermost expressions in a call that are entries of samples."""
    left: list[ast.AST] = [*call.args]
    while left:
        node = left.pop(0)
        shape = any(isinstance(thing, Shape) for value in program.values(node) for thing in value.things)
        edits = gathered(program, node, call) if isinstance(node, ast.expr) and not shape else None
        if edits is not None:
            yield from edits
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
    """Gather the samples that a call takes; None where it is of the script's own, or some cannot be gathered."""
    things = [thing for value in program.values(node.func) for thing in value.things]
    if any(isinstance(thing, Function | Class | Instance) for thing in things):
        return None
    receiver = [node.func.value] if isinstance(node.func, ast.Attribute) else []
    edits: list[Edit] = []
    for part in (*receiver, *node.args, *(keyword.value for keyword in node.keywords)):
        if not any(program.deep(value).local for value in program.values(part)):
            continue
        more = gathered(program, part, node)
        if more is None:
            return None
        edits += more
    return edits
