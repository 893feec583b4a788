"""HR501: dropout and augmentation differ from worker to worker."""

from __future__ import annotations

import ast

from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.seeds import may_part, part, seeded
from hora.convert.values import Module, Named

CODE = "HR501"
TITLE = "dropout and augmentation differ from worker to worker"
WHY = "Seeded alike, the same entries of each slice are dropped."

_DROPS = ("Dropout", "Transformer", "dropout")
"""What is in the name of a library's layer or function that drops at random, if it is not told otherwise."""


def detect(program: Program) -> list[Finding]:
    """Find a seed that makes dropout alike on all workers; only note it where workers have to be seeded alike."""
    if not program.facts.seeded or seeded(program, "torch", apart=True):
        return []
    if not any(_drops(call) for call in program.all_calls):
        return []
    loop = next((backward.place.loops[0][0] for backward in program.backwards if backward.place.loops), None)
    message = "seeded alike, the workers drop the same entries of their slices: right on average, not sample by sample"
    if program.parting and isinstance(loop, ast.stmt) and may_part(program, loop):
        return [program.finding(CODE, loop, message.partition(":")[0], part(program, loop, "torch"))]
    return [program.finding(CODE, program.facts.seeded[0], message, ())]


def _drops(call: Call) -> bool:
    """Whether a call makes a layer that drops at random, or drops."""
    made = (thing.maker for thing in call.result.things if isinstance(thing, Module) and thing.site is call.node)
    called = (thing.name for thing in call.function.things if isinstance(thing, Named))
    return any(word in name.rpartition(".")[2] for name in (*made, *called) for word in _DROPS)
