"""HR201: training loaders are dealt."""

from __future__ import annotations

import ast

from hora.convert.arguments import literal
from hora.convert.finding import Finding
from hora.convert.places import wrap
from hora.convert.program import Program
from hora.convert.streams import over_streams
from hora.convert.values import Loader, plain

CODE = "HR201"
TITLE = "training loaders are dealt"
WHY = "Without it each worker trains on all the data: N workers do the work N times, an epoch takes as long as on one."


def detect(program: Program) -> list[Finding]:
    """Find loaders whose batches every worker takes in full."""
    findings: list[Finding] = []
    for loader in sorted(program.facts.loaders, key=lambda one: (program.number(one), len(one.context))):
        if loader in program.dealt or not _drawn(program, loader):
            continue
        if loader in program.training_loaders and over_streams(program, loader):
            # HR204's, as there it hangs on the stream whether it can be dealt.
            continue
        if loader in program.training_loaders or _beside_training(program, loader):
            findings.append(_finding(program, loader, "its batches are not dealt over the workers", scaling(program)))
        elif program.number(loader) in program.whole or _by_one(program, loader) or _by_hand(program, loader):
            message = "each worker walks all of this evaluation data: right, and no faster than one"
            findings.append(program.finding(CODE, loader.site, message, ()))
        else:
            findings.append(
                _finding(program, loader, "each worker walks all of this evaluation data", ", evaluation=True")
            )
    return findings


def _beside_training(program: Program, loader: Loader) -> bool:
    """Whether evaluation that cannot be shared out for itself walks its loader where training walks another.

    What is said there of the one is said of the other. Dealt as training data is, each worker has as many batches.
    """
    if program.number(loader) not in program.whole or not program.in_step or over_streams(program, loader):
        return False
    drawn: dict[ast.AST, set[Loader]] = {}
    for draw in program.facts.draws.values():
        drawn.setdefault(draw.node, set()).update(plain(one) for one in draw.loaders)
    return any(loader in together and together & program.training_loaders for together in drawn.values())


def _drawn(program: Program, loader: Loader) -> bool:
    """Whether the script takes batches from a loader."""
    return any(plain(one) == loader for draw in program.facts.draws.values() for one in draw.loaders)


def _by_hand(program: Program, loader: Loader) -> bool:
    """Whether batches are taken with ``next()``, which a worker without a share of the batch would not get."""
    return any(
        isinstance(draw.node, ast.Call)
        for draw in program.facts.draws.values()
        if any(plain(one) == loader for one in draw.loaders)
    )


def _by_one(program: Program, loader: Loader) -> bool:
    """Whether a loader hands out one sample at a time, which cannot be cut."""
    arguments = program.facts.given[loader]
    size = arguments.get(1, "batch_size")
    options = {name for name, _ in arguments.keywords}
    return (size is None and not options & {None, "batch_sampler"}) or (
        size is not None and literal(size) in (1, None) and not size.sized and not size.number and bool(size.things)
    )


def _finding(program: Program, loader: Loader, message: str, options: str) -> Finding:
    """Deal a loader after the statement that makes it, or where it is made."""
    deal = f"{program.runtime}.deal"
    found = wrap(program, loader, deal, options, climb=lambda node: _shared(program, loader, node))
    if found is None:
        return program.finding(CODE, loader.site, "one call makes loaders that train and loaders that do not", None)
    return program.finding(CODE, loader.site, message, found[1])


def scaling(program: Program) -> str:
    """Say that each worker has a batch of the script's size, where it has."""
    return ', scaling="weak"' if program.weak else ""


def _shared(program: Program, loader: Loader, node: ast.AST) -> bool:
    """Whether loaders of another use are made through the same call."""
    return any(
        (other in program.training_loaders) != (loader in program.training_loaders)
        for other in program.facts.loaders
        if other != loader and other.site is loader.site and (node is other.site or node in other.context)
    )
