"""Tensors whose sizes are written out as numbers: as large as the batch, where they meet it and the number is its size.

``torch.ones(64, 1)`` says nothing of a batch. Compared with the outputs for one, of a loader that was given 64, it is
made for the whole batch as ``torch.ones(batch_size, 1)`` is, and the script is followed again with that known.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hora.convert.arguments import Arguments, literal
from hora.convert.spread import Kind, Spread
from hora.convert.values import Loader, Value, Written, plain

if TYPE_CHECKING:
    from hora.convert.walk import Walk


def noted(walk: Walk, value: Value, node: ast.Call) -> Value:
    """Give a tensor that a call makes in sizes that it is given, and note in which, where they are written out.

    Parameters
    ----------
    walk
        Where the call was come to; its arguments have been followed.
    value
        What is known of the tensor.
    node
        The call.
    """
    sizes = sizes_of(node)
    if sizes and sizes[0] in walk.sized:
        walk.facts.written.add(sizes[0])
    numbers = tuple(_number(walk.last.get(size)) for size in sizes)
    trained = any(keyword.arg == "requires_grad" for keyword in node.keywords)
    if not value.spread.alike or trained or not numbers or (numbers[0] or 0) < 2:
        return value
    return replace(value, written=frozenset({Written(sizes[0], numbers)}))


def compared(walk: Walk, arguments: Arguments) -> None:
    """Note what a loss of the library is handed that is as large as the batch it is compared with."""
    batches = [_batch(walk, value.spread) for value in arguments.values[:2]]
    for value in arguments.values[:2]:
        for made in value.written:
            if any(made.sizes[0] in numbers for numbers in batches):
                walk.facts.written.add(made.node)


def met(walk: Walk, left: Value, right: Value) -> None:
    """Note what meets entries of the batch in an operation that is as large as it, one entry for each sample.

    A tensor with more axes may be meant for others than that of the samples.
    """
    for one, other in ((left, right), (right, left)):
        for made in one.written:
            if made.sizes[0] in _batch(walk, other.spread):
                column = len(made.sizes) == 2 and made.sizes[1] == 1
                if column or (len(made.sizes) == 1 and other.spread.flat):
                    walk.facts.written.add(made.node)


def counted(walk: Walk, value: Value, count: Spread) -> None:
    """Note what as many entries are taken of as a slice has samples, and is as large as the batch."""
    for made in value.written:
        if made.sizes[0] in _sizes(walk, count):
            walk.facts.written.add(made.node)


def sizes_of(node: ast.Call) -> Sequence[ast.expr]:
    """Give the expressions of the sizes that a call makes a tensor in."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    named = [keyword.value for keyword in node.keywords if keyword.arg == "size"]
    given: Sequence[ast.expr] = named or (node.args[:1] if name in ("full", "new_full") else node.args)
    if name == "randint" and not named:
        given = [one for one in node.args if isinstance(one, ast.Tuple | ast.List)][:1]
    if len(given) == 1 and isinstance(given[0], ast.Tuple | ast.List):
        return given[0].elts
    return given


def _number(value: Value | None) -> int | None:
    """Give a size that is written out."""
    number = literal(value) if value is not None else None
    return number if isinstance(number, int) else None


def _batch(walk: Walk, spread: Spread) -> set[object]:
    """Give the batch sizes of the loaders whose samples are counted by a tensor's first axis."""
    return _sizes(walk, spread) if spread.kind is Kind.ROWS and spread.axis == 0 else set()


def _sizes(walk: Walk, spread: Spread) -> set[object]:
    """Give the batch sizes of the loaders that a value depends on."""
    loaders = [plain(one) for one in spread.loaders if isinstance(one, Loader)]
    given = [walk.facts.given[loader].get(1, "batch_size") for loader in loaders if loader in walk.facts.given]
    return {literal(size) for size in given if size is not None}
