"""What goes along one axis of its input, layers and operations: along the axis of the samples it lets them meet."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from hora.convert.arguments import literal
from hora.convert.spread import ENTRIES, Kind, Spread
from hora.convert.values import UNKNOWN, Loader, Module, Value, plain

if TYPE_CHECKING:
    from hora.convert.walk import Walk

_SEQUENCES = {
    "RNN": 5, "LSTM": 4, "GRU": 4, "MultiheadAttention": 8, "Transformer": 9, "TransformerEncoderLayer": 6,
    "TransformerDecoderLayer": 6,
}  # fmt: skip
"""Layers over sequences, with the place of ``batch_first`` among their arguments: without it samples come second."""
_STACKS = frozenset({"TransformerEncoder", "TransformerDecoder"})
_PICKING = frozenset({
    "narrow", "select", "index_select", "unfold", "gather", "take_along_dim", "diff", "cummax", "cummin",
    "logcumsumexp", "tensor_split", "trapz", "trapezoid",
})  # fmt: skip
_ADDING = frozenset({
    "index_add", "scatter_add", "scatter_reduce", "index_reduce", "scatter", "index_copy", "index_fill",
})  # fmt: skip
_OF_ONE_AXIS = frozenset({"Softmax", "LogSoftmax", "Softmin", "GLU"})


def meeting(walk: Walk, module: Module, given: Spread) -> str | None:
    """Say how a layer lets the samples that it is given meet; None where it does not, or where that cannot be seen."""
    name = module.maker.removeprefix("torch.nn.")
    if given.kind is not Kind.ROWS or not isinstance(module.site, ast.Call):
        return None
    if name in _OF_ONE_AXIS and _option(walk, module.site, 0, "dim") == (given.axis or 0):
        return f"{name}(dim={given.axis or 0}) goes along the axis of the samples"
    if name in _STACKS:
        return next((text for one in _layers(walk, module.site) if (text := meeting(walk, one, given))), None)
    if name not in _SEQUENCES or given.axis is None or _collated(walk, given):
        return None
    first = _option(walk, module.site, _SEQUENCES[name], "batch_first", default=False)
    if not isinstance(first, bool) or given.axis == (0 if first else 1):
        return None
    return f"{name}(batch_first={first}) goes along the axis of the samples as if they were one sequence"


def picked(name: str, values: tuple[Value, ...], given: Spread, others: tuple[Spread, ...]) -> str | None:
    """Say how an operation takes samples out of the batch or adds them up; None where it does neither."""
    place = 2 if name == "diff" else 1
    axis = literal(values[place]) if len(values) > place else None
    if name in _PICKING and given.kind in ENTRIES and axis == (given.axis or 0):
        return f"{name}() picks along the axis of the samples"
    if name in _ADDING and axis == 0 and any(one.kind in ENTRIES for one in others):
        return f"{name}() puts samples of the batch together"
    return None


def _option(walk: Walk, call: ast.Call, position: int, name: str, *, default: object = None) -> object:
    """Give the literal that a layer was made with; None where it cannot be told."""
    if any(keyword.arg is None for keyword in call.keywords) or any(isinstance(arg, ast.Starred) for arg in call.args):
        return None
    found = [keyword.value for keyword in call.keywords if keyword.arg == name] or call.args[position : position + 1]
    if not found:
        return default
    value = walk.state.trace.look(walk.last, found[0])
    return literal(value) if value is not None else None


def _layers(walk: Walk, call: ast.Call) -> list[Module]:
    """Give the layers that a stack repeats."""
    given = [
        *call.args[:1],
        *(keyword.value for keyword in call.keywords if keyword.arg in ("encoder_layer", "decoder_layer")),
    ]
    values = [walk.state.trace.look(walk.last, node) or UNKNOWN for node in given]
    return [thing for value in values for thing in value.things if isinstance(thing, Module)]


def _collated(walk: Walk, batch: Spread) -> bool:
    """Whether the script puts batches together by itself, and may lay the samples along any axis."""
    loaders = [plain(loader) for loader in batch.loaders if isinstance(loader, Loader)]
    given = [walk.state.trace.look(walk.facts.given, one) for one in loaders if isinstance(one, Loader)]
    return any(one is not None and one.get(6, "collate_fn") is not None for one in given)
