"""Decisions on what each worker evaluates for itself: worker 0's value decides for all.

Where metrics cannot be reduced (an area under a curve, lists of predictions), every worker walks all of the evaluation
data. Their values agree but for rounding, and for the order of a shuffled loader, and no decision may hang on those.
"""

from __future__ import annotations

import ast

from hora.convert.edits import Edit, insert_after
from hora.convert.facts import Place
from hora.convert.guards import calls_beside
from hora.convert.metrics import batch_loop
from hora.convert.program import Program
from hora.convert.spread import Kind, Reason, Spread
from hora.convert.values import Box, Foreign, Value

_COMPUTED = (ast.Call, ast.BinOp, ast.IfExp, ast.UnaryOp, ast.Subscript)


def taken_from_worker_0(program: Program, why: Reason, near: ast.AST) -> tuple[ast.AST, list[Edit]] | None:
    """Let all workers take over worker 0's value where one is worked out first, from an evaluation of their own.

    Parameters
    ----------
    program
        The script.
    why
        Why a decision is each worker's own: the loader that all of them walk in full.
    near
        Where it is taken.

    Returns
    -------
    tuple or None
        Where the value is worked out, with the edits; None where that is nowhere to be seen.
    """
    loops = {
        draw.node: loop
        for draw in program.facts.draws.values()
        if any(loader.site is why.node for loader in draw.loaders) and (loop := batch_loop(draw)) is not None
    }
    # Beside the decision first; then in the order in which the script comes by: what others are worked out from comes
    # before them.
    scope = program.scope(near)
    for statement in sorted(program.facts.places, key=lambda one: program.scope(one) is not scope):
        names = _names(statement) if isinstance(statement, ast.Assign) else None
        if names is None or not isinstance(statement, ast.Assign) or not isinstance(statement.value, _COMPUTED):
            continue
        if set(program.ancestors(statement)) & set(loops.values()) or not _together(program, statement):
            continue
        if calls_beside(program, statement, 1, "broadcast_object"):
            continue
        taken = _worked_out(program, statement.value, names, why)
        if taken:
            return statement, [_taken(program, statement, taken)]
    for loop in loops.values():
        names = _read_after(program, loop, why) if _together(program, loop) else []
        if names:
            return loop, [_taken(program, loop, names)]
    return None


def _names(statement: ast.Assign) -> list[str] | None:
    """Give the names that a statement assigns to, where it assigns to nothing else."""
    (target, *others) = statement.targets
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    return None if others or len(names) != len(parts) else names


def _together(program: Program, statement: ast.stmt) -> bool:
    """Whether all workers come to a statement together."""
    return all(place.control.alike and not place.alone for place in program.places(statement))


def _worked_out(program: Program, node: ast.expr, names: list[str], why: Reason) -> list[str]:
    """Give the names whose values are a worker's own for this reason, and can be sent."""
    several = [value.items or (value,) for value in program.values(node)]
    if any(len(parts) != len(names) for parts in several):
        return names if all(_is_sent(program, value, why) for value in program.values(node)) and several else []
    columns = zip(names, zip(*several, strict=True), strict=True) if several else ()
    return [name for name, parts in columns if all(_is_sent(program, part, why) for part in parts)]


def _is_sent(program: Program, value: Value, why: Reason) -> bool:
    """Whether a value is a worker's own for this reason, and one that can be sent."""
    parts = value.items or (value,)
    sent = all(part.number or all(isinstance(thing, Box | Foreign) for thing in part.things) for part in parts)
    return sent and _own(program.deep(value), why)


def _own(spread: Spread, why: Reason) -> bool:
    """Whether something is a worker's own for this reason."""
    return spread.kind is Kind.OWN and spread.why is not None and spread.why.node is why.node


def _read_after(program: Program, loop: ast.stmt, why: Reason) -> list[str]:
    """Give the numbers that a loop works out and something reads after it."""
    stored = {node.id for node in ast.walk(loop) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    read = {
        node.id: None
        for node in ast.walk(program.scope(loop))
        if isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Load)
        and node.lineno > (loop.end_lineno or loop.lineno)
        and node.id in stored
        and any(value.number and _own(value.spread, why) for value in program.values(node))
    }
    return sorted(read)


def _taken(program: Program, statement: ast.stmt, names: list[str]) -> Edit:
    """Take over worker 0's values after a statement."""
    hvd = program.runtime
    text = ", ".join(names)
    sent = names[0] if len(names) == 1 else f"({text})"
    return insert_after(program.home(statement), statement, [f"{text} = {hvd}.broadcast_object({sent}, root_rank=0)"])


def reason(place: Place) -> Reason | None:
    """Give why workers may part at a place, where each evaluates for itself."""
    why = place.control.why
    return why if why is not None and why.code == "HR403" and place.control.kind is Kind.OWN else None
