"""HR206: uneven slices keep their weight."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from hora.convert.edits import Edit
from hora.convert.evenness import drops_last
from hora.convert.facts import Backward
from hora.convert.finding import Finding
from hora.convert.losses import broken
from hora.convert.metrics import loaders_of
from hora.convert.naming import loader
from hora.convert.products import multiplied
from hora.convert.program import Program
from hora.convert.spread import Kind
from hora.convert.values import Loader, plain

CODE = "HR206"
TITLE = "uneven slices keep their weight"
WHY = "The mean of means is not the mean: 64 samples over 3 workers put the gradients off by 3.7e-2."

NAMELESS = "the loader that the batch came from has no name here, so that its weight cannot be read"


def detect(program: Program) -> list[Finding]:
    """Find losses whose gradients are averaged without the weight of the worker's slice."""
    found: dict[Finding, None] = {}
    for backward in program.backwards:
        refusal = broken(program, backward)
        if refusal is not None and refusal[0] == CODE:
            _, message, node = refusal
            found[program.finding(CODE, node, message, _weighed_apart(program, node))] = None
    return [*found, *_again(program), *(one for ways in program.ways_back for one in _weigh(program, ways))]


def _again(program: Program) -> list[Finding]:
    """Refuse batches that are kept and handed out again: the loader has the weight of its last one then."""
    message = "cycle() hands out its first batches again, whose weight the loader has lost: give it drop_last=True"
    return [
        program.finding(CODE, call.node, message, None)
        for call in program.calls_of("itertools.cycle")
        for value in call.args[:1]
        for thing in value.things
        if isinstance(thing, Loader) and plain(thing) in program.training_loaders
        if not drops_last(program, plain(thing))
    ]


def _weighed_apart(program: Program, node: ast.AST) -> list[Edit] | None:
    """Weigh each mean in a sum by its own loader, and scale what adds up over the batch, so that both are shares.

    None where a part of it is neither, or its loader has no name.
    """
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Add | ast.Sub):
        return None
    return shares(program, (node.left, node.right))


def shares(program: Program, sides: Sequence[ast.expr]) -> list[Edit] | None:
    """Make means and sums over the batch the worker's shares, whose averages over the workers are the batch's.

    None where one of them is neither, or its loader has no name.
    """
    edits: list[Edit] = []
    for side in sides:
        kinds = {value.spread.kind for value in program.values(side)}
        names = {
            loader(program, loaders_of(value.spread), place)
            for place in program.places(program.statement(side))
            if (value := program.value(side, place.context)) is not None
        }
        name = names.pop() if len(names) == 1 else None
        if kinds == {Kind.MEAN} and name is not None:
            edits += weighed(program, side, name)
        elif kinds == {Kind.SUM} and name is not None:
            edits += scaled(program, side, name)
        elif kinds != {Kind.SHARE}:
            return None
    return edits


def _weigh(program: Program, ways: list[Backward]) -> list[Finding]:
    """Weigh a loss that is a mean."""
    first = ways[0]
    if not unscaled(ways, Kind.MEAN):
        return []
    name = common_name(program, ways, Kind.MEAN)
    if name is None:
        return [program.finding(CODE, first.node, NAMELESS, None)]
    edits = weighed(program, first.loss, name)
    return [program.finding(CODE, first.node, "the loss of a slice is averaged without its weight", edits)]


def unscaled(ways: list[Backward], kind: Kind) -> bool:
    """Whether a loss is of a kind on some way that leads to it, over batches that are dealt."""
    found = [one for one in ways if one.value.spread.kind is kind]
    loaders = [loader for one in found for loader in one.value.spread.loaders if isinstance(loader, Loader)]
    return (
        bool(loaders)
        and all(loader.dealt for loader in loaders)
        and not any(one.value.spread.unsliced for one in found)
    )


def common_name(program: Program, ways: list[Backward], kind: Kind) -> str | None:
    """Give the one expression that names a loss's loader, where the loss is of a kind on all ways that lead to it."""
    names = {loader_name(program, one) for one in ways}
    return names.pop() if len(names) == 1 and all(one.value.spread.kind is kind for one in ways) else None


def loader_name(program: Program, backward: Backward) -> str | None:
    """Give the expression that names the loader of a loss, where the backward pass is."""
    place = backward.place
    loop = next((node for node, context in reversed(place.loops) if context == place.context), None)
    loaders = frozenset(one for one in backward.value.spread.loaders if isinstance(one, Loader))
    return loader(program, loaders, place, [loop.iter] if isinstance(loop, ast.For) else [])


def weighed(program: Program, node: ast.expr, loader: str) -> list[Edit]:
    """Multiply an expression by the weight of the loader's batch."""
    return multiplied(program.home(node), node, f"{loader}.weight")


def scaled(program: Program, node: ast.expr, loader: str) -> list[Edit]:
    """Scale a sum over the batch, so that its average over the workers is the global one.

    A worker without samples of its own has borrowed some, which must not be counted twice.
    """
    return multiplied(program.home(node), node, f"{program.runtime}.size() * bool({loader}.weight)")


def held(program: Program, node: ast.expr, loader: str) -> list[Edit]:
    """Count what an expression counts, unless the samples of the batch are borrowed."""
    return multiplied(program.home(node), node, f"bool({loader}.weight)")
