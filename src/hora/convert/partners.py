"""Partners of samples, drawn from all of the batch: ``x[torch.randperm(n)]`` of mixup, cutmix and shuffled labels."""

from __future__ import annotations

import ast

from hora.convert import noise
from hora.convert.edits import surround
from hora.convert.finding import Finding
from hora.convert.metrics import loaders_of
from hora.convert.naming import loader
from hora.convert.program import Program
from hora.convert.values import Shuffled


def draws(program: Program) -> frozenset[ast.AST]:
    """Give the calls that draw partners for the samples of a slice."""
    return frozenset(call.node for call in program.all_calls if Shuffled() in call.result.things)


def mended(program: Program, code: str) -> list[Finding]:
    """Draw the first of these orders for the whole batch, and take partners from all workers' samples.

    Parameters
    ----------
    program
        The script.
    code
        The rule that asks for it.
    """
    training = frozenset(draw.place.loops[-1][0] for draw in program.training_draws)
    drawn = next(noise.shuffles(program, training), None)
    if drawn is None:
        return []
    message = "the samples of a worker's slice are shuffled among themselves, and not among those of the batch"
    edits = noise.sliced(program, drawn)
    for (node, context), place in program.facts.partners.items():
        value = program.value(node.value, context)
        loaders = loaders_of(value.spread) if value is not None else frozenset()
        name = loader(program, loaders, place) if loaders else None
        if name is None:
            return [program.finding(code, node, "partners are taken of samples whose loader has no name here", None)]
        edits += surround(program.home(node), node.value, f"{name}.gather(", ")")
    return [program.finding(code, drawn.node, message, dict.fromkeys(edits))]
