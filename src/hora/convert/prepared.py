"""What is made as large as the batch before the loop over the batches: in each step a worker takes its own entries.

``ones = torch.ones(batch_size, 1)`` meets a slice of n samples as ``ones[: len(x)]``, where its entries are all the
same, and else as ``noise[loader.first : loader.first + len(x)]``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hora.convert import evenness, full, noise
from hora.convert.edits import Edit, surround
from hora.convert.metrics import batch_loop
from hora.convert.naming import loader
from hora.convert.program import Program
from hora.convert.spread import Full, Kind


def taken(program: Program, node: ast.AST) -> list[Edit] | None:
    """Take the worker's entries of what is made at a node, wherever a step reads it as a whole.

    Parameters
    ----------
    program
        The script.
    node
        The call that makes it.

    Returns
    -------
    list of Edit or None
        None where no step reads it, where a step may come to a batch that is not full, as that one would then need all
        entries, or where its first axis is not the one that is as long as the batch.
    """
    edits: dict[Edit, None] = {}
    for draw in program.training_draws:
        loop = batch_loop(draw)
        if not isinstance(loop, ast.For) or len(program.places(loop)) != 1:
            continue
        place = program.places(loop.body[0])[0] if program.places(loop.body[0]) else draw.place
        name = full.samples(program, loop, place)
        here = [read for read in _reads(program, loop) if any(one.why.node is node for one in _fulls(program, read))]
        if not here:
            continue
        owner = loader(program, frozenset(draw.loaders), place, [loop.iter])
        if name is None or owner is None or not all(evenness.only_full(program, loop, read) for read in here):
            return None
        count, source = f"len({name})", program.home(loop)
        if any(one.why.node in program.facts.altered or not one.uniform for one in _fulls(program, here[0])):
            part = f"[{noise.own_entries(owner, count)}]"
        else:
            part = f"[: {count}]"
        for read in here:
            edits |= dict.fromkeys(surround(source, read, "", part)[1:])
    return list(edits) or None


def _reads(program: Program, loop: ast.For) -> Iterator[ast.expr]:
    """Give where a loop reads, as a whole, what was made as large as the batch before it."""
    stored = {ast.unparse(one) for one in ast.walk(loop) if isinstance(getattr(one, "ctx", None), ast.Store)}
    for node in ast.walk(loop):
        if not isinstance(node, ast.Name | ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        if ast.unparse(node) in stored or not _fulls(program, node) or _cut(program, node):
            continue
        if isinstance(node, ast.Attribute) and _fulls(program, node.value):
            continue
        if all(value.spread.kind is Kind.ROWS and value.spread.axis == 0 for value in program.values(node)):
            yield node


def _fulls(program: Program, node: ast.AST) -> frozenset[Full]:
    """Give what an expression is on all ways that is made as large as the batch."""
    values = program.values(node)
    if not values or not all(value.spread.full for value in values):
        return frozenset()
    return frozenset(one for value in values for one in value.spread.loaders if isinstance(one, Full))


def _cut(program: Program, node: ast.expr) -> bool:
    """Whether as many entries of something are taken as a slice has samples: that is mended where they are taken."""
    outer = program.parents[node]
    if not isinstance(outer, ast.Subscript) or outer.value is not node:
        return False
    index = outer.slice.elts[0] if isinstance(outer.slice, ast.Tuple) and outer.slice.elts else outer.slice
    return isinstance(index, ast.Slice) and index.upper is not None
