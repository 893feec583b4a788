"""Distributions of torch.distributions: what they are made of spreads to what is drawn from them and to densities."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hora.convert import shapes
from hora.convert.arguments import Arguments
from hora.convert.spread import ENTRIES, Kind, mixed, nonlinear
from hora.convert.values import Distribution, Value, tensor

if TYPE_CHECKING:
    from hora.convert.walk import Walk

NAME = "torch.distributions."
DRAWS = frozenset({"sample", "rsample", "sample_n", "rsample_n"})


def call(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give what a class or function of torch.distributions gives."""
    spreads = tuple(walk.state.deep_spread(value) for value in arguments.all)
    last = name.rpartition(".")[2]
    if last == "kl_divergence":
        return tensor(nonlinear(spreads, arguments.node, f"{last}()"))
    return Value(nonlinear(spreads, arguments.node, f"{last}()"), frozenset({Distribution()}))


def method(walk: Walk, arguments: Arguments, receiver: Value, name: str) -> Value:
    """Give what a distribution's method gives."""
    node = arguments.node
    own = walk.state.deep_spread(receiver)
    if name in DRAWS:
        walk.facts.noise[node, walk.context] = walk.place
        if not own.local:
            return tensor(shapes.made(walk, arguments.values, node, walk.stream("torch", node)))
        if arguments.all and own.kind in ENTRIES:
            # Axes are put in front, for as many draws.
            sizes = arguments.values[0].items if len(arguments.values) == 1 else None
            if sizes is None or own.axis is None:
                return tensor(replace(own, axis=None, flat=False))
            if any(size.spread.kind is Kind.COUNT for size in sizes):
                return tensor(mixed("HR305", "each sample of the batch is repeated for each other", node, own))
            return tensor(replace(own, axis=own.axis + len(sizes), flat=False))
        return tensor(own)
    if name == "expand":
        return replace(receiver, things=frozenset({Distribution()}))
    spreads = (own, *(walk.state.deep_spread(value) for value in arguments.all))
    return tensor(nonlinear(spreads, node, f"{name}()"))
