"""HR904: a batch of one is not dealt."""

from __future__ import annotations

from hora.convert.arguments import literal
from hora.convert.finding import Finding
from hora.convert.program import Program

CODE = "HR904"
TITLE = "a batch of one is not dealt"
WHY = "One sample cannot be cut in slices: all workers but one would wait."


def detect(program: Program) -> list[Finding]:
    """Find training loaders that hand out one sample at a time."""
    findings: list[Finding] = []
    for loader in sorted(program.training_loaders, key=program.number):
        arguments = program.facts.given[loader]
        size = arguments.get(1, "batch_size")
        options = {name for name, _ in arguments.keywords}
        if (size is None and not options & {None, "batch_sampler"}) or (size is not None and literal(size) == 1):
            findings.append(program.finding(CODE, loader.site, "a batch of one sample cannot be dealt", None))
    return findings
