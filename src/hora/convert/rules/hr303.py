"""HR303: a sum-reduced loss keeps its scale."""

from __future__ import annotations

import ast

from hora.convert.finding import Finding
from hora.convert.losses import refusals
from hora.convert.program import Program
from hora.convert.rules.hr206 import NAMELESS, common_name, scaled, shares, unscaled
from hora.convert.spread import Kind

CODE = "HR303"
TITLE = "a sum-reduced loss keeps its scale"
WHY = "Averaged over N workers a sum is N times too small. Adam hides it: the curves look right, the gradients are not."


def detect(program: Program) -> list[Finding]:
    """Find losses that are a sum over the batch, and are averaged over the workers as if they were a mean."""
    findings = refusals(program, CODE)
    if findings:
        findings = _listed(program) or findings
    for ways in program.ways_back:
        first = ways[0]
        if not unscaled(ways, Kind.SUM):
            continue
        name = common_name(program, ways, Kind.SUM)
        if name is None:
            findings.append(program.finding(CODE, first.node, NAMELESS, None))
            continue
        edits = scaled(program, first.loss, name)
        message = "the loss is a sum over the batch: averaged over N workers it would be N times too small"
        findings.append(program.finding(CODE, first.node, message, edits))
    return findings


def _listed(program: Program) -> list[Finding]:
    """Find losses of both kinds in one list or dict, which a loop may add up: each is made the worker's share there."""
    message = "a mean and a sum over the batch stand in one list: a sum is N times too small when averaged"
    findings = []
    for node in program.nodes():
        if isinstance(node, ast.List | ast.Dict):
            losses = node.elts if isinstance(node, ast.List) else node.values
            kinds = [{value.spread.kind for value in program.values(one)} for one in losses]
            if {Kind.MEAN} in kinds and {Kind.SUM} in kinds:
                edits = shares(program, losses)
                findings += [program.finding(CODE, node, message, edits)] if edits else []
    return findings
