"""The batch size that a loader was given, in a step that only full batches come to: the number of their samples."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hora.convert.edits import Edit, replace
from hora.convert.evenness import drawn, given, only_full
from hora.convert.facts import Place
from hora.convert.metrics import batch_loop, loaders_of
from hora.convert.program import Program
from hora.convert.shapes import LAID_OUT
from hora.convert.spread import Kind, Reason
from hora.convert.values import Loader, plain


def counted(program: Program, node: ast.AST) -> list[Edit] | None:
    """Count the samples of the batch where an operation takes the batch size; None where batches may hold fewer.

    Parameters
    ----------
    program
        The script.
    node
        The operation: one that makes a tensor as large as the batch, or lays one out anew.
    """
    edits: dict[ast.expr, Edit] = {}
    for context in program.facts.values.get(node, {}):
        within = _in_step(program, (node, *reversed(context)))
        if within is None:
            return None
        operation, place, loop = within
        sizes = list(_sizes(program, operation, place, drawn(program, loop)))
        name = samples(program, loop, place)
        if len(sizes) != 1 or name is None or not only_full(program, loop, operation):
            return None
        for size in sizes:
            edits[size] = replace(program.home(size), size, f"len({name})")
    return list(edits.values()) or None


def _in_step(program: Program, nodes: tuple[ast.AST, ...]) -> tuple[ast.AST, Place, ast.For] | None:
    """Give the innermost of an operation and the calls that led to it that stands in the loop over the batches."""
    loops = {loop for draw in program.training_draws if isinstance(loop := batch_loop(draw), ast.For)}
    for node in nodes:
        loop = next((one for one in program.ancestors(node) if one in loops), None)
        places = program.places(program.statement(node))
        if isinstance(loop, ast.For) and len(places) == 1:
            return node, places[0], loop
    return None


def _sizes(program: Program, node: ast.AST, place: Place, loaders: frozenset[Loader]) -> Iterator[ast.expr]:
    """Give the outermost expressions in an operation that are the batch size itself."""
    for child in ast.iter_child_nodes(node):
        value = program.value(child, place.context) if isinstance(child, ast.expr) else None
        if (
            isinstance(child, ast.Name | ast.Attribute | ast.Subscript)
            and value is not None
            and given(program, value, loaders)
        ):
            yield child
        else:
            yield from _sizes(program, child, place, loaders)


def uses(program: Program, loop: ast.For) -> list[Reason]:
    """Give where a loop uses the batch size for tensors: what it makes, and what it reads that was made before.

    What is done now and then, such as pictures of noise that is kept for them, is left out.
    """
    found: dict[Reason, None] = {}
    always = [one for one in loop.body if not isinstance(one, ast.If)]
    for node in (inner for one in always for inner in ast.walk(one)):
        for value in program.values(node) if isinstance(node, ast.expr) else ():
            made = value.spread.unsliced if value.spread.full else None
            why = made.why if made is not None else value.spread.why
            if why is not None and why.code == "HR207" and (why.node is node or made is not None):
                found[why] = None
    return list(found)


def samples(program: Program, loop: ast.For, place: Place) -> str | None:
    """Give a name that the loop gives the samples of each batch, along their first axis, and nothing else.

    A name that is then laid out by the batch size will do: what is counted is in the end what that layout has.
    """
    wanted = drawn(program, loop)
    found: dict[str, bool] = {}
    for node in ast.walk(loop.target):
        if isinstance(node, ast.Name):
            value = program.facts.bindings.get(place.frame, {}).get(node.id)
            loaders = loaders_of(value.spread) if value is not None else frozenset()
            if value is None or {plain(one) for one in loaders} != wanted:
                continue
            laid_out = value.spread.why is not None and value.spread.why.message == LAID_OUT
            if (value.spread.kind is Kind.ROWS and value.spread.axis == 0) or laid_out:
                found[node.id] = node.id.strip("_") != ""
    return max(found, key=lambda name: found[name], default=None)
