"""HR207: every use of the batch size follows."""

from __future__ import annotations

import ast

from hora.convert import full, noise
from hora.convert.edits import Edit, replace
from hora.convert.finding import Finding
from hora.convert.losses import broken
from hora.convert.program import Program
from hora.convert.spread import Kind

CODE = "HR207"
TITLE = "every use of the batch size follows"
WHY = "Labels, noise or hidden states made for the whole batch do not fit a slice of it, or train N times as many."


def detect(program: Program) -> list[Finding]:
    """Find losses that use the batch size that the loader was given, or the first entries of what all hold alike."""
    found: dict[Finding, None] = {}
    for backward in program.backwards:
        refusal = broken(program, backward)
        if refusal is not None and refusal[0] == CODE:
            _, message, node = refusal
            found[program.finding(CODE, node, message, _own_entries(program, node) or full.counted(program, node))] = (
                None
            )
    return list(found)


def _own_entries(program: Program, node: ast.AST) -> list[Edit] | None:
    """Take the entries that belong to the worker's samples, and not the first ones; None where they are not to be seen.

    ``targets[:n]`` of what was made for the whole batch is ``targets[first : first + n]`` for a slice of n samples.
    """
    if not isinstance(node, ast.Subscript):
        return None
    index = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice
    if not isinstance(index, ast.Slice) or index.lower is not None or index.step is not None or index.upper is None:
        return None
    found: set[tuple[ast.stmt, str]] = set()
    for way in program.places(program.statement(node)):
        value = program.value(index.upper, way.context)
        loop = next((draw.node for draw in program.training_draws if draw.place.loops[-1] in way.loops), None)
        inside = next((one for one in _within(program, node) if program.parents.get(one) is loop), None)
        loader = noise.loader_of(program, index.upper, way)
        if value is None or value.spread.kind is not Kind.COUNT or loop is None or inside is None or loader is None:
            return None
        found.add((inside, loader))
    if len(found) != 1 or _collated(program):
        return None
    ((statement, loader),) = found
    source = program.home(node)
    count = source.segment(index.upper)
    _, first, edits = noise.place(program, statement, count, loader)
    return [*edits, replace(source, index, f"{first} : {first} + {count}")]


def _within(program: Program, node: ast.AST) -> list[ast.stmt]:
    """Give the statements that a node is in, innermost first."""
    return [one for one in program.ancestors(node) if isinstance(one, ast.stmt)]


def _collated(program: Program) -> bool:
    """Whether the script puts its batches together by itself, and may lay the samples along another axis."""
    given = [program.facts.given[loader] for loader in program.training_loaders]
    return any(one.get(6, "collate_fn") is not None for one in given)
