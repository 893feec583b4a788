"""Seeds: how a script asks for one, stream by stream, in the names that it has imported."""

from __future__ import annotations

import ast
import sys

from hora.convert.distributions import DRAWS
from hora.convert.edits import Edit, insert_before
from hora.convert.imports import named
from hora.convert.program import Program
from hora.convert.randomness import SEEDS, stream_of
from hora.convert.runtime import NAME
from hora.convert.source import Source
from hora.convert.spread import Kind
from hora.convert.tensors import DRAWN
from hora.convert.values import Named

_APART = {
    "torch": "{name}.manual_seed({name}.initial_seed() + {rank})",
    "numpy": "{name}.random.seed({name}.random.randint(2**31) + {rank})",
    "random": "{name}.seed({name}.getrandbits(31) + {rank})",
}
# GPUs are seeded with it.
_AT_START = {"torch": "{name}.manual_seed({hvd}.broadcast_object({name}.initial_seed(), root_rank=0))"}
_TOGETHER = {
    "torch": "{name}.set_rng_state({hvd}.broadcast_object({name}.get_rng_state(), root_rank=0))",
    "numpy": "{name}.random.set_state({hvd}.broadcast_object({name}.random.get_state(), root_rank=0))",
    "random": "{name}.setstate({hvd}.broadcast_object({name}.getstate(), root_rank=0))",
}


def part(program: Program, loop: ast.stmt, stream: str) -> list[Edit]:
    """Give each worker but worker 0 another seed of a stream before a loop."""
    source = program.home(loop)
    name, imports = named(source, stream)
    rank = f"{program.runtime}.rank()"
    lines = [f"if {rank} > 0:", f"{source.indent}{_APART[stream].format(name=name, rank=rank)}"]
    return [*imports, insert_before(source, loop, lines)]


def may_part(program: Program, loop: ast.AST) -> bool:
    """Whether workers that are given other seeds before a loop keep them: nothing seeds anew on its way."""
    return isinstance(loop, ast.stmt) and not any(
        loop in {one for one, _ in call.place.loops}
        for node in program.facts.seeded
        for call in program.calls_by_node.get(node, ())
    )


def together(program: Program, stream: str) -> tuple[str, list[Edit]]:
    """Give what brings a stream to where it is on worker 0 at the start, and the import that it needs."""
    # What the script imports after its start is not there yet.
    start = next((call.node.lineno for call in program.calls_of(f"{NAME}.init") if program.own(call.node)), sys.maxsize)
    name, edits = named(program.source, stream, start)
    return {**_TOGETHER, **_AT_START}[stream].format(name=name, hvd=program.runtime), edits


def together_again(program: Program, source: Source, stream: str) -> tuple[str, list[Edit]]:
    """Give what brings a stream to where it is on worker 0 during the training, and the import that it needs."""
    name, edits = named(source, stream)
    return _TOGETHER[stream].format(name=name, hvd=program.runtime), edits


def streams(program: Program, node: ast.AST) -> frozenset[str | None]:
    """Give the streams that a call may draw from."""
    calls = program.calls_by_node.get(node, ())
    if isinstance(node, ast.Call) and any((node, call.place.context) in program.facts.noise for call in calls):
        # Of a tensor or a distribution.
        methods = {getattr(node.func, "attr", "") for call in calls if not call.function.things}
        if methods & {*DRAWN, *DRAWS}:
            return frozenset({"torch"})
    return frozenset(
        stream_of(thing.name) for call in calls for thing in call.function.things if isinstance(thing, Named)
    )


def seeded(program: Program, stream: str, *, apart: bool) -> bool:
    """Whether a stream is seeded in the script: ``apart`` when on each worker for itself, else once from worker 0."""
    for name, given in SEEDS.items():
        if stream not in given:
            continue
        for call in program.calls_of(name):
            own = any(value.spread.kind is Kind.OWN for value in call.args)
            sent = any(
                isinstance(arg, ast.Call) and ast.unparse(arg.func) == f"{program.runtime}.broadcast_object"
                for arg in call.node.args
            )
            if own if apart else sent and not call.place.loops:
                return True
    return False
