"""HR502: splits, permutations and sampled settings agree on all workers."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.spread import Kind

CODE = "HR502"
TITLE = "splits, permutations and sampled settings agree on all workers"
WHY = "Split without a seed, each worker trains on samples that the others hold back for validation."


def detect(program: Program) -> list[Finding]:
    """Find loaders whose data or sampler each worker has drawn for itself."""
    findings: dict[Finding, None] = {}
    for thing, spread in program.facts.own.items():
        if spread.kind is not Kind.OWN or spread.why is None:
            continue
        where = spread.why.node if hasattr(spread.why.node, "lineno") else getattr(thing, "site", program.source.tree)
        message = f"each worker would have its own data: {spread.why.message}; seed it first"
        findings[program.finding(CODE, where, message, None)] = None
    return list(findings)
