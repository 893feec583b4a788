"""HR304: a mean over a count that differs by worker uses the global count."""

from __future__ import annotations

import ast

from hora.convert.counts import criterion_of, mended
from hora.convert.finding import Finding
from hora.convert.losses import broken
from hora.convert.program import Program
from hora.convert.values import Function

CODE = "HR304"
TITLE = "a mean over a count that differs by worker uses the global count"
WHY = "The mean of two means over 3 and 97 entries weighs the 3 as much as the 97."

_PADS = ("pad", "max")


def detect(program: Program) -> list[Finding]:
    """Find losses that divide by a number of entries that differs between workers, and batches that are padded."""
    found: dict[ast.AST, Finding] = {}
    for backward in program.backwards:
        refusal = broken(program, backward)
        if refusal is None or refusal[0] != CODE:
            continue
        _, message, node = refusal
        # One criterion is mended at all its calls together.
        key = criterion_of(program, node) or node
        found.setdefault(key, program.finding(CODE, node, message, mended(program, node)))
    return [*found.values(), *_padded(program)]


def _padded(program: Program) -> list[Finding]:
    """Find training loaders whose batches are padded to the longest sample."""
    findings = []
    for loader in sorted(program.training_loaders, key=program.number):
        arguments = program.facts.given[loader]
        collate = arguments.get(-1, "collate_fn")
        functions = [thing for thing in collate.things if isinstance(thing, Function)] if collate is not None else []
        if collate is None or (functions and not any(_pads(function.node) for function in functions)):
            continue
        if not functions and all(getattr(thing, "value", "") is None for thing in collate.things) and collate.things:
            continue
        node = next(
            (keyword.value for keyword in arguments.node.keywords if keyword.arg == "collate_fn"), arguments.node
        )
        message = "the samples may be padded to the longest of a worker's slice, which differs from that of the batch"
        findings.append(program.finding(CODE, node, message, None))
    return findings


def _pads(function: ast.AST) -> bool:
    """Whether a function that puts samples together may pad them."""
    names = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(function)}
    return any(part in name for name in names for part in _PADS)
