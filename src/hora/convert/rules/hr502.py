"""HR502: splits, permutations and sampled settings agree on all workers."""

from __future__ import annotations

import ast
from collections.abc import Set

from hora.convert.edits import Edit, insert_after, insert_before
from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.seeds import seeded, streams, together, together_again
from hora.convert.spread import Kind, Spread
from hora.convert.unordered import unordered
from hora.convert.values import Instance, Loader

CODE = "HR502"
TITLE = "splits, permutations and sampled settings agree on all workers"
WHY = "Split without a seed, each worker trains on samples that the others hold back for validation."

_ANEW = frozenset({"np.random.seed", "numpy.random.seed", "random.seed", "torch.seed"})


def detect(program: Program) -> list[Finding]:
    """Find loaders whose data or sampler each worker has drawn for itself."""
    findings: dict[Finding, None] = {}
    losses = [(one.node, one.value.spread) for one in program.backwards if _is_drawn(one.value.spread, CODE)]
    data = [(thing, spread) for thing, spread in program.facts.own.items() if _is_drawn(spread, CODE, "HR503")]
    for thing, spread in (*data, *losses):
        assert spread.why is not None
        where = spread.why.node if hasattr(spread.why.node, "lineno") else getattr(thing, "site", program.source.tree)
        message = f"each worker would have its own data: {spread.why.message}"
        edits = _again(program, where) if isinstance(thing, Loader) else None
        edits = edits or _one_seed(program, where)
        mend = "seed it first" if spread.why.code == CODE else "draw it with a seeded generator"
        findings[program.finding(CODE, where, message if edits else f"{message}; {mend}", edits)] = None
    return [*findings, *unordered(program, CODE), *_seeded_anew(program)]


def _is_drawn(spread: Spread, *codes: str) -> bool:
    """Whether each worker has drawn a value for itself, as rules of these codes speak of."""
    return spread.kind is Kind.OWN and spread.why is not None and spread.why.code in codes


def _again(program: Program, node: ast.AST) -> list[Edit] | None:
    """Bring the stream to where worker 0 has it each time that data is drawn between epochs; None if it is not.

    The stream is the same on all workers from there on: one that noise for samples is drawn from is left alone.
    """
    drawn = streams(program, node)
    stream = next(iter(drawn)) if len(drawn) == 1 else None
    noisy = (one for (one, _), place in program.facts.noise.items() if place.loops)
    if stream is None or any(stream in streams(program, one) for one in noisy):
        return None
    loops = {loop for draw in program.training_draws for loop in draw.place.loops[:-1]}
    calls = [call for call in program.calls_by_node.get(node, ()) if loops.intersection(call.place.loops)]
    starts = {_began(program, call, {loop for loop, _ in loops}) for call in calls}
    places = [call.place for call in calls] + [place for start in starts for place in program.places(start)]
    if not calls or not all(place.control.alike and not place.alone for place in places):
        return None
    edits: list[Edit] = []
    for statement in sorted(starts, key=lambda one: one.lineno):
        line, needed = together_again(program, program.home(statement), stream)
        block = program.block(statement)
        before = block[block.index(statement) - 1 : block.index(statement)]
        if not before or ast.unparse(before[0]) != line:
            edits += [*needed, insert_before(program.home(statement), statement, [line])]
    return edits or None


def _began(program: Program, call: Call, loops: Set[ast.AST]) -> ast.stmt:
    """Give the statement that draws: that which calls the data's own method, or the loop that draws one by one."""
    given = (value for loader in program.training_loaders for value in program.facts.given[loader].all)
    data = {thing for value in given for thing in value.things if isinstance(thing, Instance)}
    node: ast.AST = call.node
    for depth, site in enumerate(call.place.context):
        outer = program.facts.calls.get((site, call.place.context[:depth]))
        if outer is not None and data & {getattr(one, "bound", None) for one in outer.function.things}:
            node = site
            break
    statement = program.statement(node)
    for parent in program.ancestors(statement):
        if parent in loops or isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            break
        if isinstance(parent, ast.stmt):
            statement = parent
    return statement


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
    if stream is None or any(seeded(program, stream, apart=apart) for apart in (False, True)):
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
