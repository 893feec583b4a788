"""How many axes tensors have: told by the layers that they come through, and by what they meet entry by entry."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from hora.convert.spread import Kind
from hora.convert.values import Value

if TYPE_CHECKING:
    from hora.convert.walk import Walk

_OVER_SPACE = re.compile(
    r"torch\.nn\.(?:Lazy)?(?:Conv|ConvTranspose|MaxPool|AvgPool|AdaptiveMaxPool|AdaptiveAvgPool|LPPool)([123])d"
)
_POINTWISE = frozenset({
    "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "logsigmoid", "exp", "log", "log1p",
    "sqrt", "abs", "pow", "square", "clamp", "clip", "neg", "round", "floor", "softmax", "log_softmax", "detach",
    "eq", "ne", "gt", "lt", "ge", "le", "logical_not",
})  # fmt: skip
_LAYERS = re.compile(
    r"torch\.nn\.(?:\w*ReLU\d?|\w*Sigmoid|Tanh|GELU|ELU|SELU|CELU|SiLU|Mish|Soft\w+|LogSoftmax|\w*Dropout\w*|Identity"
    r"|\w*Norm\dd|GroupNorm|LayerNorm)$"
)


def through(maker: str, given: Value) -> int | None:
    """Give how many axes a layer's output has, of a batch."""
    over = _OVER_SPACE.match(maker)
    if over is not None:
        return int(over[1]) + 2
    return given.rank if _LAYERS.match(maker) else None


def kept(name: str, given: Value) -> int | None:
    """Give how many axes an operation on each entry leaves."""
    return given.rank if name.rstrip("_") in _POINTWISE else None


def met(walk: Walk, left: Value, right: Value, sides: tuple[ast.expr, ...]) -> int | None:
    """Give how many axes two values have together that meet entry by entry.

    Samples that meet one by one along the same axis have as many axes each; a name for one of them is told so.
    """
    if left.rank == right.rank:
        return left.rank
    if left.rank is not None and right.rank is not None:
        return max(left.rank, right.rank)
    known, other = (left, right) if right.rank is None else (right, left)
    if not other.spread.local:
        return known.rank if other.number or not other.things else None
    if known.spread.kind is not Kind.ROWS or other.spread.kind is not Kind.ROWS:
        return None
    if known.spread.axis is None or known.spread.axis != other.spread.axis:
        return None
    for side, value in zip(sides, (left, right), strict=False):
        if value is other and isinstance(side, ast.Name) and walk.state.get(walk.frame, side.id) is other:
            walk.state.set(walk.frame, side.id, replace(other, rank=known.rank))
    return known.rank
