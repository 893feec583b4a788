"""Batches whose samples are drawn at random, anew for each step: ``ix = torch.randint(n, (batch_size,))``."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from hora.convert.facts import Backward
from hora.convert.program import Program, set_in
from hora.convert.seeds import streams
from hora.convert.values import Function, Named

_DRAWS = frozenset({
    "torch.randint", "torch.randperm", "numpy.random.randint", "numpy.random.choice", "numpy.random.permutation",
})  # fmt: skip
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_SIZED = {"torch.randint": (1, 2), "numpy.random.randint": (2,), "numpy.random.choice": (1,)}
"""Those that are asked for a number of places, with where the size may stand among their arguments."""


@dataclass(frozen=True)
class Drawn:
    """The draws of a batch.

    Attributes
    ----------
    size
        How many samples the batch has.
    places
        The expressions that draw their places, all of that size.
    anchor
        The statement before which is said what each worker takes: the loop, or one before it that draws, too.
    function, calls
        The function that draws them, where it does not see what is said before the loop, and the calls of it there.
    """

    size: ast.expr
    places: tuple[ast.expr, ...]
    anchor: ast.stmt
    function: ast.FunctionDef | None = None
    calls: tuple[ast.Call, ...] = ()


def drawn(program: Program, backward: Backward, outer: ast.stmt) -> Drawn | None:
    """Read what draws the batches of a loop; None where nothing does, or where its size is not known before the loop.

    Parameters
    ----------
    program
        The script.
    backward
        A backward pass on such a batch.
    outer
        The statement before which what each worker takes is to be said.
    """
    loops = set(backward.place.loops)
    found: dict[ast.expr, ast.expr] = {}
    for call in program.calls_of(*_DRAWS):
        if loops and not loops.isdisjoint(call.place.loops):
            place, size = _sized(program, call.node)
            if size is not None and not isinstance(program.parents[place], ast.Starred):
                found[place] = size
    if len({ast.unparse(size) for size in found.values()}) != 1:
        return None
    size, places = next(iter(found.values())), tuple(sorted(found, key=lambda one: (one.lineno, one.col_offset)))
    if all(_known(program, size, place, outer) for place in places):
        anchor = _first(program, places, outer)
        return Drawn(size, places, anchor) if anchor is not None and not _late(program, size, anchor) else None
    return _handed(program, size, places, outer)


def _first(program: Program, nodes: tuple[ast.expr, ...], outer: ast.stmt) -> ast.stmt | None:
    """Give the first statement beside a loop, or the loop, from which a way leads to one of several expressions.

    None where a way comes from elsewhere.
    """
    block = program.block(outer)
    found = [block.index(outer)]
    for node in nodes:
        for call in (one for inner in ast.walk(node) for one in program.calls_by_node.get(inner, ())):
            chain = {call.node, *call.place.context}
            led = [at for at, statement in enumerate(block) if chain & set(ast.walk(statement)) and _runs(statement)]
            if not led:
                return None
            found.append(led[0])
    return block[min(found)]


def _runs(statement: ast.stmt) -> bool:
    """Whether a statement does what stands in it, and not only when it is called."""
    return not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def _late(program: Program, size: ast.expr, anchor: ast.stmt) -> bool:
    """Whether a batch's size is set after a statement only."""
    block = program.block(anchor)
    names = {one.id for one in ast.walk(size) if isinstance(one, ast.Name)}
    return any(names & set_in(one) for one in block[block.index(anchor) :] if _runs(one))


def sender(program: Program, place: ast.expr) -> str:
    """Give the function of the runtime that sends what an expression draws to all workers."""
    return "broadcast" if any(streams(program, one) == {"torch"} for one in ast.walk(place)) else "broadcast_object"


def _sized(program: Program, node: ast.Call) -> tuple[ast.expr, ast.expr | None]:
    """Give the expression that has the places which a call draws, and how many these are; None where it is not told."""
    called = {one.name for value in program.values(node.func) for one in value.things if isinstance(one, Named)}
    name = next((one for one in _SIZED if called == {one}), None)
    if name is None:
        # Of an order the first are taken: torch.randperm(n)[:batch_size].
        taken = program.parents[node]
        if isinstance(taken, ast.Subscript) and taken.value is node and isinstance(taken.slice, ast.Slice):
            part = taken.slice
            return taken, part.upper if part.lower is None and part.step is None else None
        return node, None
    given = [keyword.value for keyword in node.keywords if keyword.arg == "size"]
    given = given or [node.args[at] for at in _SIZED[name] if at < len(node.args)][-1:]
    if not given:
        return node, None
    if isinstance(given[0], ast.Tuple | ast.List):
        return node, given[0].elts[0] if len(given[0].elts) == 1 else None
    return node, given[0] if name.startswith("numpy.") else None


def _handed(program: Program, size: ast.expr, places: tuple[ast.expr, ...], outer: ast.stmt) -> Drawn | None:
    """Read the draws of a function that can be handed what each worker takes, as all its calls are beside the loop."""
    functions = {
        next((one for one in program.ancestors(place) if isinstance(one, _FUNCTIONS)), None) for place in places
    }
    function = functions.pop() if len(functions) == 1 else None
    if not isinstance(function, ast.FunctionDef) or program.home(function) is not program.home(outer):
        return None
    given, outside = function.args, [one for one in program.ancestors(outer) if isinstance(one, _FUNCTIONS)]
    if given.vararg or given.kwonlyargs or given.kwarg or function in outside:
        return None
    made = (
        call.node
        for call in program.all_calls
        if any(isinstance(thing, Function) and thing.node is function for thing in call.function.things)
    )
    calls = tuple(dict.fromkeys(made))
    uses = sum(isinstance(node, ast.Name) and node.id == function.name for one in program.sources for node in one.nodes)
    sizes = [one for call in calls if (one := _argument(function, call, size)) is not None]
    if not sizes or not uses == len(calls) == len(sizes) or len({ast.unparse(one) for one in sizes}) != 1:
        return None
    anchor = _first(program, calls, outer)
    if anchor is None or _late(program, sizes[0], anchor):
        return None
    if not all(_known(program, one, call, outer) for one, call in zip(sizes, calls, strict=True)):
        return None
    return Drawn(sizes[0], places, anchor, function, calls)


def _argument(function: ast.FunctionDef, call: ast.Call, size: ast.expr) -> ast.expr | None:
    """Give what a call hands a function for one of its parameters; what is no parameter stays what it is."""
    parameters = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
    if any(isinstance(one, ast.Starred) for one in call.args) or any(one.arg is None for one in call.keywords):
        return None
    if not isinstance(size, ast.Name) or size.id not in parameters:
        return None if {one.id for one in ast.walk(size) if isinstance(one, ast.Name)} & _bound(function) else size
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    at = parameters.index(size.id)
    return named.get(size.id) or (call.args[at] if at < len(call.args) else None)


def _known(program: Program, size: ast.expr, place: ast.expr, outer: ast.stmt) -> bool:
    """Whether a batch's size is the same before the loop as where its samples are drawn."""
    names = {one.id for one in ast.walk(size) if isinstance(one, ast.Name)}
    if any(isinstance(one, ast.Call) for one in ast.walk(size)):
        return False
    around = [one for one in program.ancestors(place) if isinstance(one, _FUNCTIONS)]
    outside = [one for one in program.ancestors(outer) if isinstance(one, _FUNCTIONS)]
    inner = [one for one in around if one not in outside]
    # What is said before the loop is seen in the functions that stand beside it, and in those within them.
    if any(one not in around for one in outside) or program.home(place) is not program.home(outer):
        return False
    return not names & set_in(outer).union(*map(_bound, inner))


def _bound(function: ast.AST) -> frozenset[str]:
    """Give the names that a function binds."""
    return set_in(function) | {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
