"""What a worker's slice adds to a metric: which terms are weighed, what is reduced after a loop, what where it is read.

The three steps of :mod:`hora.convert.rules.hr601`, as plans of text; the rule makes findings of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from hora.convert.facts import Draw, Place
from hora.convert.program import Program
from hora.convert.spread import Kind, Spread
from hora.convert.values import Loader

CURRENT = (Kind.MEAN, Kind.COUNT, Kind.SUM)
Accumulation = ast.Assign | ast.AugAssign


def loaders_of(spread: Spread) -> frozenset[Loader]:
    """Give the loaders that a value depends on."""
    return frozenset(loader for loader in spread.loaders if isinstance(loader, Loader))


def dealt(spread: Spread) -> bool:
    """Whether a value depends on batches that are dealt, and on no others."""
    loaders = loaders_of(spread)
    return bool(loaders) and all(loader.dealt for loader in loaders)


def for_evaluation(spread: Spread) -> bool:
    """Whether a value depends on batches that are dealt for evaluation, of which a worker may get none."""
    return any(loader.dealt == "evaluation" for loader in loaders_of(spread))


def inside_evaluation(program: Program, place: Place) -> bool:
    """Whether a place is inside a loop whose batches not every worker gets."""
    loops = {
        draw.place.loops[-1]
        for draw in program.facts.draws.values()
        if draw.place.loops
        and draw.place.loops[-1][0] is draw.node
        and any(loader.dealt == "evaluation" for loader in draw.loaders)
    }
    return bool(loops & set(place.loops))


def borrowed(spread: Spread) -> bool:
    """Whether a value counts samples that a worker may have borrowed to take a step with."""
    counts = spread.kind in (Kind.COUNT, Kind.SUM, Kind.TOTAL) and not spread.held
    return counts and dealt(spread) and all(loader.dealt == "training" for loader in loaders_of(spread))


def unweighed(program: Program) -> Iterator[tuple[Accumulation, ast.expr, Spread, Place]]:
    """Give what is added up over batches without their weights: the statement, the term, its spread.

    The terms are means, and counts and sums of samples that may be borrowed.
    """
    for statement, places in program.facts.places.items():
        if not isinstance(statement, Accumulation):
            continue
        node = statement if isinstance(statement, ast.AugAssign) else statement.value
        for place in places.values():
            whole = program.value(node, place.context)
            if whole is None or not dealt(whole.spread):
                continue
            means = whole.spread.kind is Kind.MEANS or _begins(program, statement, whole.spread, place)
            if not means and not (whole.spread.kind is Kind.TOTAL and borrowed(whole.spread)):
                continue
            for term in _terms(statement.value):
                value = program.value(term, place.context)
                if value is None:
                    continue
                if value.spread.kind is Kind.MEAN if means else countable(value.spread):
                    yield statement, term, value.spread, place


def _begins(program: Program, statement: Accumulation, spread: Spread, place: Place) -> bool:
    """Whether a statement sets a running mean to the mean of its first batch."""
    if spread.kind is not Kind.MEAN or not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return False
    text = ast.unparse(statement.targets[0])
    others: list[ast.AST] = [
        one.value if isinstance(one, ast.Assign) else one
        for loop, _ in place.loops[-1:]
        for one, target in _accumulated(loop)
        if one is not statement and ast.unparse(target) == text
    ]
    held = [value.spread.kind for one in others if (value := program.value(one, place.context)) is not None]
    return Kind.MEANS in held or Kind.SHARE in held


def handed_in(program: Program, statement: Accumulation, term: ast.expr) -> bool:
    """Whether a method adds to its object what it was handed, and nothing that it has worked out."""
    function = program.scope(statement)
    target = statement.target if isinstance(statement, ast.AugAssign) else statement.targets[0]
    if not isinstance(function, ast.FunctionDef) or not isinstance(program.parents[function], ast.ClassDef):
        return False
    given = {arg.arg for arg in function.args.args[1:]}
    names = {node.id for node in ast.walk(term) if isinstance(node, ast.Name)}
    return isinstance(target, ast.Attribute | ast.Subscript) and bool(names) and names <= given


def countable(spread: Spread) -> bool:
    """Whether a term counts samples of one batch that may be borrowed."""
    return spread.kind in (Kind.COUNT, Kind.SUM) and borrowed(spread)


def _terms(node: ast.expr) -> Iterator[ast.expr]:
    """Give what a sum is made of."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield from _terms(node.left)
        yield from _terms(node.right)
    elif isinstance(node, ast.IfExp):
        yield from _terms(node.body)
        yield from _terms(node.orelse)
    else:
        yield node


@dataclass(frozen=True)
class Total:
    """What a loop adds up: the loop after which it is reduced, its text, where it is added, and how it is reduced."""

    loop: ast.stmt
    text: str
    node: ast.AST
    additive: bool


def totals(program: Program) -> list[Total]:
    """Give what loops add up over slices and something reads after them."""
    found: dict[tuple[ast.stmt, str], Total] = {}
    for draw in program.facts.draws.values():
        loop = batch_loop(draw)
        if loop is None or not draw.place.control.alike or draw.place.alone:
            continue
        if not all(loader.dealt for loader in draw.loaders):
            continue
        for node, target in _accumulated(loop):
            key, text = ast.unparse(target), program.home(target).segment(target)
            outer = _widest(program, loop, key)
            reads = [value for read in _reads_after(program, outer, key) for value in program.values(read)]
            kinds = [_how(value.spread) for value in reads if value.spread.local]
            if kinds and None not in kinds and len(set(kinds)) == 1 and all(value.spread.local for value in reads):
                found.setdefault((outer, text), Total(outer, text, node, bool(kinds[0])))
    return list(found.values())


def batch_loop(draw: Draw) -> ast.For | ast.While | None:
    """Give the loop whose rounds are the batches, where it stands in the function that draws them."""
    if draw.place.loops:
        loop, context = draw.place.loops[-1]
        if context == draw.place.context and isinstance(loop, ast.For | ast.While):
            return loop
    return None


def _accumulated(loop: ast.AST) -> Iterator[tuple[ast.AST, ast.expr]]:
    """Give what a loop adds to: each target, in the order of the lines."""
    nodes = sorted((n for n in ast.walk(loop) if isinstance(n, Accumulation)), key=lambda node: node.lineno)
    for node in nodes:
        target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
        if isinstance(target, ast.Name | ast.Attribute | ast.Subscript):
            yield node, target


def _widest(program: Program, loop: ast.stmt, text: str) -> ast.stmt:
    """Give the outermost loop in which a total goes on growing: the one inside which it is set anew, or the last."""
    here = loop
    for outer in program.ancestors(loop):
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Module):
            break
        if isinstance(outer, ast.For | ast.While):
            if any(_sets(node, text) for node in ast.walk(outer) if isinstance(node, ast.Assign)):
                break
            here = outer
    return here


def _sets(node: ast.Assign, text: str) -> bool:
    """Whether an assignment sets a target anew, not from what it was."""
    targets = {ast.unparse(one) for target in node.targets for one in (target, *getattr(target, "elts", ()))}
    uses = {
        ast.unparse(one) for one in ast.walk(node.value) if isinstance(one, ast.Name | ast.Attribute | ast.Subscript)
    }
    anew = text in targets or any(text.startswith((f"{target}[", f"{target}.")) for target in targets)
    return anew and text not in uses


def _reads_after(program: Program, loop: ast.stmt, text: str) -> list[ast.AST]:
    """Give the places after a loop that read a total."""
    attribute = not text.isidentifier()
    scope = program.home(loop).tree if attribute else program.scope(loop)
    inside = set(ast.walk(loop))
    return [
        node
        for node in ast.walk(scope)
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript)
        and isinstance(node.ctx, ast.Load)
        and _reads(node, text)
        and node not in inside
        and (node.lineno > (loop.end_lineno or 0) or attribute)
        and program.values(node)
    ]


def _reads(node: ast.Name | ast.Attribute | ast.Subscript, text: str) -> bool:
    """Whether an expression has a text."""
    if isinstance(node, ast.Name):
        return node.id == text
    end = f".{node.attr}" if isinstance(node, ast.Attribute) else "]"
    return text.endswith(end) and ast.unparse(node) == text


def _how(spread: Spread) -> bool | None:
    """Whether a value is added up over workers (True) or averaged (False); None where neither is right."""
    if not dealt(spread) or (for_evaluation(spread) and spread.kind in CURRENT):
        return None
    if spread.additive:
        return True
    return False if spread.kind is Kind.SHARE else None
