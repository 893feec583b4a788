"""HR502: splits, permutations and sampled settings agree on all workers."""

from __future__ import annotations

import ast

from hora.convert.edits import Edit, insert_after
from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.seeds import seeded, streams, together
from hora.convert.spread import Kind
from hora.convert.unordered import unordered
from hora.convert.values import Instance

CODE = "HR502"
TITLE = "splits, permutations and sampled settings agree on all workers"
WHY = "Split without a seed, each worker trains on samples that the others hold back for validation."

_ANEW = frozenset({"np.random.seed", "numpy.random.seed", "random.seed", "torch.seed"})


def detect(program: Program) -> list[Finding]:
    """Find loaders whose data or sampler each worker has drawn for itself."""
    findings: dict[Finding, None] = {}
    losses = ((backward.node, backward.value.spread) for backward in program.backwards)
    for thing, spread in (*program.facts.own.items(), *losses):
        if spread.kind is not Kind.OWN or spread.why is None or spread.why.code != CODE:
            continue
        where = spread.why.node if hasattr(spread.why.node, "lineno") else getattr(thing, "site", program.source.tree)
        message = f"each worker would have its own data: {spread.why.message}"
        edits = _one_seed(program, where)
        findings[program.finding(CODE, where, message if edits else f"{message}; seed it first", edits)] = None
    return [*findings, *unordered(program, CODE), *_seeded_anew(program)]


def _seeded_anew(program: Program) -> list[Finding]:
    """Find samplers of the script's own whose file seeds a stream from the clock: each worker then draws its own."""
    samplers = {
        thing.cls.node
        for loader in program.training_loaders
        for place, name in ((3, "sampler"), (4, "batch_sampler"))
        if (value := program.facts.given[loader].get(place, name)) is not None
        for thing in value.things
        if isinstance(thing, Instance)
    }
    message = "the sampler's file seeds its random numbers anew, on each worker in its own way: give a seed"
    return [
        program.finding(CODE, node, message, None)
        for tree in dict.fromkeys(program.home(sampler).tree for sampler in samplers)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and not node.args and ast.unparse(node.func) in _ANEW
    ]


def _one_seed(program: Program, node: ast.AST) -> list[Edit] | None:
    """Seed the stream that a call draws from as on worker 0; None where that does not help it."""
    drawn = streams(program, node)
    stream = next(iter(drawn)) if len(drawn) == 1 else None
    if stream is None or seeded(program, stream, apart=False):
        return None
    start = next((call.node for call in program.calls_of(f"{NAME}.init") if program.own(call.node)), None)
    if start is None:
        return None
    line, edits = together(program, stream)
    return [*edits, insert_after(program.source, _last_of_start(program, program.statement(start)), [line])]


def _last_of_start(program: Program, statement: ast.stmt) -> ast.stmt:
    """Give the statement that ends the start: the choice of the worker's GPU, where it comes next."""
    block = program.block(statement)
    later = block[block.index(statement) + 1 :]
    if later and "set_device" in ast.unparse(later[0]):
        return later[0]
    return statement
