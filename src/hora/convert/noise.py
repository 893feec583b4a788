"""Noise for the batch, drawn once for all workers and sliced as the batch is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from hora.convert.edits import Edit, insert_before, replace, surround
from hora.convert.facts import Place
from hora.convert.metrics import batch_loop, loaders_of
from hora.convert.naming import loader
from hora.convert.program import Program
from hora.convert.seeds import streams
from hora.convert.spread import Kind


@dataclass(frozen=True)
class Noise:
    """Noise that a script draws in its training loop.

    Attributes
    ----------
    node
        The call that draws it.
    count
        The expression in it that counts the samples of the worker's slice.
    loader
        The expression that names the loader of the batch.
    """

    node: ast.Call
    count: ast.expr
    loader: str


def draws(program: Program, training: frozenset[ast.AST]) -> Iterator[Noise]:
    """Give the draws that are made as large as the slice, in the order of their lines.

    Parameters
    ----------
    program
        The script.
    training
        The loops over training batches.
    """
    for node, places in _in_order(program):
        within = [place for place in places if training & {loop for loop, at in place.loops if at == place.context}]
        noise = _noise(program, node, within[:1]) if within and not _shuffles(node) else None
        if noise is not None and _dealt(program, noise.count):
            yield noise


def shuffles(program: Program, training: frozenset[ast.AST]) -> Iterator[Noise]:
    """Give the draws that put the samples of the slice in another order, likewise.

    Also those in functions that the loops call, and those whose loader is not dealt yet.
    """
    for node, places in _in_order(program):
        everywhere = all(training & {loop for loop, _ in place.loops} for place in places)
        noise = _noise(program, node, places) if everywhere and _shuffles(node) else None
        if noise is not None:
            yield noise


def _in_order(program: Program) -> list[tuple[ast.Call, list[Place]]]:
    """Give the calls that draw, in the order of their lines, with the ways that lead there."""
    found: dict[ast.Call, list[Place]] = {}
    for (node, _), place in program.facts.noise.items():
        if isinstance(node, ast.Call):
            found.setdefault(node, []).append(place)
    return sorted(found.items(), key=lambda item: item[0].lineno)


def _noise(program: Program, node: ast.Call, places: list[Place]) -> Noise | None:
    """Give a draw, where on each of these ways it is as large as the slice of one loader's batch."""
    if not streams(program, node) & {"torch", "numpy"} or _parted(program, node):
        return None
    found: set[tuple[ast.expr, str]] = set()
    for place in places:
        counts = list(_counts(program, node, place))
        loader = loader_of(program, counts[0], place) if len(counts) == 1 else None
        count = program.value(counts[0], place.context) if loader is not None else None
        if loader is None or count is None or not count.spread.exact:
            return None
        found.add((counts[0], loader))
    (only, *others) = found
    return None if others else Noise(node, *only)


def _dealt(program: Program, count: ast.expr) -> bool:
    """Whether what is counted are samples of dealt loaders."""
    return all(loader.dealt for value in program.values(count) for loader in loaders_of(value.spread))


def _shuffles(node: ast.AST) -> bool:
    """Whether a draw puts samples in another order."""
    return isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "randperm"


def _parted(program: Program, node: ast.Call) -> bool:
    """Whether workers may part on their way to a draw."""
    return any(not call.place.control.alike or call.place.alone for call in program.calls_by_node[node])


def _counts(program: Program, node: ast.Call, place: Place) -> Iterator[ast.expr]:
    """Give the outermost expressions in a call's arguments that count the samples of the slice."""
    left: list[ast.AST] = [*node.args, *(keyword.value for keyword in node.keywords)]
    while left:
        here = left.pop()
        value = program.value(here, place.context)
        if isinstance(here, ast.expr) and value is not None and value.spread.kind is Kind.COUNT:
            yield here
        else:
            left += ast.iter_child_nodes(here)


def loader_of(program: Program, count: ast.expr, place: Place) -> str | None:
    """Give the expression that names the loader whose samples are counted."""
    value = program.value(count, place.context)
    loaders = loaders_of(value.spread) if value is not None else frozenset()
    if not loaders:
        return None
    loops = [one for draw in program.facts.draws.values() if draw.loaders & loaders for one in (batch_loop(draw),)]
    near = [one.iter for one in loops if isinstance(one, ast.For)][:1]
    return loader(program, loaders, place, near)


def sliced(program: Program, drawn: Noise) -> list[Edit]:
    """Draw noise for the whole batch on worker 0, and take the worker's slice of it."""
    hvd, source = program.runtime, program.home(drawn.node)
    count = source.segment(drawn.count)
    samples, first, edits = _place(program, _before_choice(program, drawn), count, drawn.loader)
    send = "broadcast" if streams(program, drawn.node) == {"torch"} else "broadcast_object"
    part = f", root_rank=0)[{first} : {first} + {count}]"
    edits.append(replace(source, drawn.count, samples))
    return [*edits, *surround(source, drawn.node, f"{hvd}.{send}(", part)]


def own_entries(loader: str, count: str) -> str:
    """Give the slice that takes a worker's entries out of what all hold for the batch, by expressions for both."""
    return f"{loader}.first : {loader}.first + {count}"


def _place(program: Program, statement: ast.stmt, count: str, loader: str) -> tuple[str, str, list[Edit]]:
    """Give the names of the batch's size and of the slice's start in it, and what makes them before a statement.

    ``count`` and ``loader`` are the expressions for the number of samples in the slice, and for their loader.
    """
    hvd = program.runtime
    # A worker without samples of its own has borrowed the whole batch.
    total = f"{hvd}.allreduce({count} * bool({loader}.weight), op={hvd}.Sum)"
    names = _given(program, statement, total)
    if names is not None:
        return *names, []
    names = program.fresh("samples", "batch_samples"), program.fresh("first", "first_sample")
    lines = [f"{names[0]} = {total}", f"{names[1]} = {loader}.first"]
    return *names, [insert_before(program.home(statement), statement, lines)]


def _before_choice(program: Program, drawn: Noise) -> ast.stmt:
    """Give the outermost ``if`` of which each branch draws as much, or the statement that draws."""
    text, first = ast.unparse(drawn.count), program.statement(drawn.node)
    names = {node.id for node in ast.walk(drawn.count) if isinstance(node, ast.Name)}
    for outer in program.ancestors(first):
        stored = {one.id for one in ast.walk(outer) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
        if not isinstance(outer, ast.If) or names & stored:
            break
        if not all(_draws(program, branch, text) for branch in (outer.body, outer.orelse)):
            break
        first = outer
    return first


def _draws(program: Program, branch: list[ast.stmt], count: str) -> bool:
    """Whether a branch draws as many random numbers as an expression counts."""
    drawing = {node for node, _ in program.facts.noise}
    nodes = (node for one in branch for node in ast.walk(one))
    return any(node in drawing and count in map(ast.unparse, getattr(node, "args", ())) for node in nodes)


def _given(program: Program, statement: ast.stmt, total: str) -> tuple[str, str] | None:
    """Give the names of the batch's size and the slice's start, where they are known before a statement."""
    wanted = ast.unparse(ast.parse(total, mode="eval"))
    for statements in program.before(statement):
        for one, other in pairwise(statements):
            if isinstance(one, ast.Assign) and isinstance(other, ast.Assign) and ast.unparse(one.value) == wanted:
                return ast.unparse(one.targets[0]), ast.unparse(other.targets[0])
    return None


def sent(program: Program, node: ast.AST) -> bool:
    """Whether what a call draws is sent from worker 0 to all."""
    parent = program.parents[node]
    return isinstance(parent, ast.Call) and ast.unparse(parent.func).startswith(f"{program.runtime}.broadcast")
