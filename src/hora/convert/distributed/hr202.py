"""HR202: a DistributedSampler deals anew in each epoch."""

from __future__ import annotations

import ast

from hora.convert.distributed.library import loaders, samplers
from hora.convert.distributed.script import Script, is_constant, keyword
from hora.convert.finding import Finding

CODE = "HR202"
TITLE = "a DistributedSampler deals anew in each epoch"
WHY = "Without set_epoch(epoch) it shuffles by one seed each time: every epoch has the same batches in the same order."


def detect(script: Script) -> list[Finding]:
    """Find shuffling samplers of a training loader whose epoch is never set."""
    if "set_epoch" in script.source.text or script.uses("accelerate"):
        return []
    message = "set_epoch() is never called: every epoch has the same batches in the same order"
    return [
        script.finding(CODE, sampler, message)
        for sampler in samplers(script)
        if not is_constant(keyword(sampler, "shuffle", 3), False) and _trained_on(script, sampler)
    ]


def _trained_on(script: Script, sampler: ast.Call) -> bool:
    """Whether training goes through the loader of a sampler more than once, in this file."""
    for loader in loaders(script):
        given = keyword(loader, "sampler", 3)
        if given is None or sampler not in script.origins(given):
            continue
        for loop in script.draws(loader):
            if script.trains(loop) and _repeated(script, loop):
                return True
    return False


def _repeated(script: Script, node: ast.AST) -> bool:
    """Whether a line is run in a loop of its function, or its function is called in one."""
    if script.loops(node):
        return True
    function = script.function(node)
    return function is not None and any(script.loops(one) for one in script.references(function))
