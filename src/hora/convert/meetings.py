"""Batches of several loaders that meet sample by sample: each has as many samples as the other, or torch raises."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from itertools import combinations

from hora.convert.metrics import loaders_of
from hora.convert.program import Program
from hora.convert.spread import Kind
from hora.convert.values import Class, Function, Instance, Loader, Thing, plain

_REDUCED = frozenset({Kind.MEAN, Kind.MEANS, Kind.SUM, Kind.TOTAL, Kind.COUNT, Kind.SHARE, Kind.WEIGHT})
"""What is left of a batch's samples has no entries that could meet others."""


def together(program: Program, loaders: Iterable[Loader]) -> bool:
    """Whether the batches of these loaders have all met, one with the other or through a third."""
    left = {plain(one) for one in loaders}
    pairs = _pairs(program)
    reached = {left.pop()} if left else set()
    while more := {one for one in left for other in reached if frozenset({one, other}) in pairs}:
        reached |= more
        left -= more
    return not left


def unlike_in_size(program: Program, loaders: Iterable[Loader]) -> bool:
    """Whether batches of two of these loaders have met that were given different batch sizes: one broadcasts."""
    pairs = _pairs(program)
    for one, other in combinations({plain(one) for one in loaders}, 2):
        if frozenset({one, other}) in pairs and isinstance(one, Loader) and isinstance(other, Loader):
            first, second = (program.facts.given[loader].get(1, "batch_size") for loader in (one, other))
            if first is None or second is None or not first.things or first.things != second.things:
                return True
    return False


def _pairs(program: Program) -> set[frozenset[Thing]]:
    """Give the pairs of loaders of which a batch of one meets a batch of the other in some operation."""
    found: set[frozenset[Thing]] = set()
    for node, values in program.facts.values.items():
        if not isinstance(node, ast.BinOp | ast.Call) or _followed(program, node):
            continue
        for context, value in values.items():
            if len(loaders_of(value.spread)) > 1:
                parts = [program.value(part, context) for part in _parts(node)]
                alone = {
                    frozenset(map(plain, loaders_of(part.spread)))
                    for part in parts
                    if part is not None and part.spread.kind not in _REDUCED
                }
                found |= {one | other for one, other in combinations(alone, 2) if len(one) == len(other) == 1}
    return found


def _followed(program: Program, node: ast.BinOp | ast.Call) -> bool:
    """Whether a call is of a function of the script, which may give one of its arguments or the other."""
    functions = program.values(node.func) if isinstance(node, ast.Call) else ()
    return any(isinstance(thing, Function | Class | Instance) for value in functions for thing in value.things)


def _parts(node: ast.BinOp | ast.Call) -> list[ast.expr]:
    """Give what an operation takes."""
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    receiver = [node.func.value] if isinstance(node.func, ast.Attribute) else []
    return [*receiver, *node.args, *(keyword.value for keyword in node.keywords)]
