"""HR303: a sum-reduced loss keeps its scale."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.losses import refusals
from hora.convert.program import Program
from hora.convert.rules.hr206 import NAMELESS, common_name, scaled, unscaled
from hora.convert.spread import Kind

CODE = "HR303"
TITLE = "a sum-reduced loss keeps its scale"
WHY = "Averaged over N workers a sum is N times too small. Adam hides it: the curves look right, the gradients are not."


def detect(program: Program) -> list[Finding]:
    """Find losses that are a sum over the batch, and are averaged over the workers as if they were a mean."""
    findings = refusals(program, CODE)
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
