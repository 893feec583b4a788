"""HR203: evaluation counts each sample once."""

from __future__ import annotations

import ast

from hora.convert.distributed.guards import guards
from hora.convert.distributed.library import loaders, of_accelerator, samplers, wrapped
from hora.convert.distributed.script import Script, is_constant, keyword
from hora.convert.finding import Finding

CODE = "HR203"
TITLE = "evaluation counts each sample once"
WHY = "A DistributedSampler fills the last round with samples that it has dealt already: 10 over 4 workers count as 12."


def detect(script: Script) -> list[Finding]:
    """Find evaluation on padded data, and a wrapped network that worker 0 evaluates alone."""
    return [*_padded(script), *_gathered(script), *_alone(script)]


def _padded(script: Script) -> list[Finding]:
    """Find samplers of loaders that are only evaluated on."""
    message = "where the workers do not divide the data set, some samples count twice in the metrics"
    findings = []
    for sampler in samplers(script):
        if is_constant(keyword(sampler, "drop_last", 5), True):
            continue
        loops = [
            loop
            for loader in loaders(script)
            if (given := keyword(loader, "sampler", 3)) is not None and sampler in script.origins(given)
            for loop in script.draws(loader)
        ]
        if any(_counts(script, loop) for loop in loops) and not any(_may_train(script, loop) for loop in loops):
            findings.append(script.finding(CODE, sampler, message, note=True))
    return findings


def _counts(script: Script, loop: ast.For) -> bool:
    """Whether a loop keeps a metric: it adds up, or tells an object of it."""
    return any(
        isinstance(one, ast.AugAssign)
        or (isinstance(one, ast.Call) and getattr(one.func, "attr", "") in ("update", "add_batch", "add"))
        for one in ast.walk(loop)
    )


def _may_train(script: Script, loop: ast.For) -> bool:
    """Whether a loop trains, or hands its batches to one that may."""
    return script.trains(loop) or any(isinstance(one, ast.Yield) for one in ast.walk(loop))


def _gathered(script: Script) -> list[Finding]:
    """Find predictions that are gathered with their padding."""
    message = "gather() keeps the samples that fill up the last batch: gather_for_metrics() drops them"
    return [
        script.finding(CODE, node, message, note=True)
        for node, _ in script.calls
        if of_accelerator(script, node) == "gather"
        and script.loops(node)
        and not script.trains(script.loops(node)[0])
        and "gather_for_metrics" not in script.source.text
    ]


def _alone(script: Script) -> list[Finding]:
    """Find calls of a network in its wrapper that only some of the workers come to."""
    message = "a wrapped network sends its buffers out before it computes: the other workers do not come here"
    wrappers = [call for call in wrapped(script) if not is_constant(keyword(call, "broadcast_buffers"), False)]
    return [
        script.finding(CODE, node, message)
        for node, _ in script.calls
        if isinstance(node.func, ast.Name)
        and (made := script.origins(node.func))
        and all(one in wrappers for one in made)
        and guards(script, node)
    ]
