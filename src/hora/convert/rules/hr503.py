"""HR503: noise drawn for a batch is sliced, not repeated."""

from __future__ import annotations

import ast

from hora.convert.finding import Finding
from hora.convert.losses import refusals
from hora.convert.program import Program
from hora.convert.values import plain

CODE = "HR503"
TITLE = "noise drawn for a batch is sliced, not repeated"
WHY = "Seeded alike, N workers draw the same noise N times, and the global batch has 1/N of the noise it should."


def detect(program: Program) -> list[Finding]:
    """Find noise in the training step that is alike on all workers, or makes the batch's loss a worker's own."""
    findings = refusals(program, CODE)
    if not program.facts.seeded:
        return findings
    training = {
        draw.place.loops[-1][0]
        for draw in program.facts.draws.values()
        if draw.place.loops and any(plain(loader) in program.training_loaders for loader in draw.loaders)
    }
    for (node, _), place in program.facts.noise.items():
        if training & {loop for loop, _ in place.loops}:
            if _in_network(program, node):
                message = "seeded alike, the workers draw the same noise for their slices: right on average"
                findings.append(program.finding(CODE, node, message, ()))
            else:
                message = "the seed makes all workers draw the same noise for their slices: not converted yet"
                findings.append(program.finding(CODE, node, message, None))
    return list(dict.fromkeys(findings))


def _in_network(program: Program, node: ast.AST) -> bool:
    """Whether a node is in a class, as a network's own noise is."""
    return any(isinstance(one, ast.ClassDef) for one in program.ancestors(node))
