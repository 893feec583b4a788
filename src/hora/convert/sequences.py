"""Packed sequences of torch.nn.utils.rnn: the entries of all samples laid end to end, as many of each as it is long."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from hora.convert import listings
from hora.convert.arguments import Arguments, literal
from hora.convert.spread import ENTRIES, Kind, Spread, mixed
from hora.convert.values import NUMBER, Packed, Value, tensor

if TYPE_CHECKING:
    from hora.convert.walk import Walk

NAME = "torch.nn.utils.rnn."
UNPACK = f"{NAME}pad_packed_sequence"


def call(walk: Walk, name: str, arguments: Arguments) -> Value | None:
    """Give what a function over sequences gives; None for any other."""
    if not arguments.values:
        return None
    last, first, node = name.removeprefix(NAME), arguments.values[0], arguments.node
    if last == "pack_padded_sequence":
        return _packed(walk, walk.state.deep_spread(first), _axis(arguments, 2), node)
    if last in ("pack_sequence", "pad_sequence"):
        spread = walk.state.deep_spread(listings.gathered(walk, first))
        if last == "pack_sequence":
            return _packed(walk, spread, 0, node)
        return tensor(replace(spread, axis=_axis(arguments, 1)) if spread.kind in ENTRIES else spread)
    if last == "pad_packed_sequence":
        spread = walk.state.deep_spread(first)
        if spread.kind is not Kind.RAGGED:
            return Value(items=(tensor(spread), tensor(spread)))
        entries = Spread(Kind.ROWS, spread.loaders, _axis(arguments, 1))
        return Value(items=(tensor(entries), tensor(replace(entries, axis=0))))
    return None


def _packed(walk: Walk, spread: Spread, axis: int | None, node: ast.AST) -> Value:
    """Give entries of samples that lie along an axis, packed."""
    if spread.kind is Kind.ROWS and axis is not None and spread.axis not in (axis, None):
        spread = mixed("HR305", "sequences are packed along the axis of the samples", node, spread)
    if spread.kind in ENTRIES:
        spread = Spread(Kind.RAGGED, spread.loaders, 0)
    return Value(spread, frozenset({Packed()}))


def _axis(arguments: Arguments, place: int) -> int | None:
    """Give the axis of the samples that ``batch_first`` tells; None where it cannot be read."""
    first = arguments.get(place, "batch_first")
    told = literal(first) if first is not None else False
    return (0 if told else 1) if isinstance(told, bool) else None


def attribute(value: Value, name: str, node: ast.AST) -> Value:
    """Give an attribute of a packed sequence: its entries, or how many samples each step has."""
    if name == "data":
        return tensor(value.spread)
    if name in ("is_cuda", "is_pinned") or not value.spread.local:
        return NUMBER
    return tensor(mixed("HR304", f"the {name} of a packed slice", node, value.spread))


def through(value: Value, *, both: bool) -> Value:
    """Give what a recurrent layer gives of a packed sequence: another one, and the states of the samples."""
    state = tensor(Spread(Kind.ROWS, value.spread.loaders, 1) if value.spread.kind is Kind.RAGGED else value.spread)
    hidden = Value(items=(state, state)) if both else state
    return Value(items=(Value(value.spread, frozenset({Packed()})), hidden))
