"""What the functions of ``hora.torch`` do to values: a deal, a weight, a reduction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hora.convert.arguments import Arguments
from hora.convert.spread import ALIKE, WHOLE, Kind, mixed, own
from hora.convert.values import UNKNOWN, Constant, Loader, Named, Optimizer, Rank, Value, tensor

if TYPE_CHECKING:
    from hora.convert.walk import Walk

NAME = "hora.torch"
COLLECTIVES = frozenset({
    "allreduce", "allgather", "broadcast", "broadcast_", "broadcast_object", "allgather_object", "barrier",
    "broadcast_parameters", "broadcast_optimizer_state", "DistributedOptimizer", "deal", "grouped_allreduce",
    "allreduce_", "total",
})  # fmt: skip


def call(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give what a function of the runtime gives."""
    node = arguments.node
    first = arguments.values[0] if arguments.values else UNKNOWN
    if name in COLLECTIVES:
        walk.happen("collective", node)
    if name in ("rank", "local_rank", "cross_rank"):
        rank = frozenset({Rank()}) if name == "rank" else frozenset()
        return Value(own("HR606", "it is the worker's rank", node), rank, number=True)
    if name in ("size", "local_size"):
        return Value(number=True, world=True)
    if name == "deal":
        evaluation = arguments.get(1, "evaluation")
        how = "evaluation" if evaluation and Constant(True, "bool") in evaluation.things else "training"
        things = (replace(one, dealt=one.dealt or how) if isinstance(one, Loader) else one for one in first.things)
        return replace(first, things=frozenset(things))
    if name == "DistributedOptimizer":
        wrapped = (replace(one, wrapped=True) if isinstance(one, Optimizer) else one for one in first.things)
        return replace(first, things=frozenset(wrapped))
    if name == "loader":
        draws = walk.facts.draws.values()
        return Value(things=frozenset(one for draw in draws for one in draw.loaders if one.dealt == "training"))
    if name == "total":
        return _total(walk, first, arguments)
    if name == "allreduce":
        return _allreduce(walk, first, arguments)
    if name == "broadcast_object":
        # What worker 0 has worked out of its slice is not what all of them have together.
        sliced = walk.state.deep_spread(first)
        if sliced.local and sliced.kind is not Kind.OWN:
            walk.escape(node, tuple(arguments.pairs[:1]), "is sent from worker 0")
    return first if name == "convert_sync_batchnorm" else UNKNOWN


def _allreduce(walk: Walk, value: Value, arguments: Arguments) -> Value:
    """Give a reduced value: alike on all workers, where the operation fits the value."""
    op = arguments.get(2, "op")
    total = op is not None and Named(f"{NAME}.Sum") in op.things
    spread = walk.state.deep_spread(value)
    fits = spread.additive if total else spread.kind is Kind.SHARE
    if spread.local and not fits:
        how = "added up" if total else "averaged"
        return tensor(mixed("HR601", f"what is {spread.kind.value} is {how} over the workers", arguments.node, spread))
    return Value(WHOLE if spread.local and not value.number else ALIKE, number=value.number)


def of_loader(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give what all workers count together, or the entries of all samples of the batch."""
    value = arguments.values[0] if arguments.values else UNKNOWN
    spread = walk.state.deep_spread(value)
    walk.happen("collective", arguments.node)
    if name == "gather":
        whole = spread.kind is Kind.ROWS and spread.axis == 0
        message = f"what is {spread.kind.value} is gathered"
        return UNKNOWN if whole else tensor(mixed("HR305", message, arguments.node, spread))
    return _counted(walk, value, arguments)


def _counted(walk: Walk, value: Value, arguments: Arguments) -> Value:
    """Give what all workers count together."""
    spread = walk.state.deep_spread(value)
    if spread.local and spread.kind not in (Kind.COUNT, Kind.SUM):
        return tensor(mixed("HR304", f"what is {spread.kind.value} is counted", arguments.node, spread))
    return Value(WHOLE if spread.kind is Kind.SUM and not value.number else ALIKE, number=value.number)


def _total(walk: Walk, value: Value, arguments: Arguments) -> Value:
    """Give what all workers count in the batch that they train on; of evaluation, which has to be whole, the count."""
    spread = walk.state.deep_spread(value)
    if any(isinstance(one, Loader) and one.dealt == "evaluation" for one in spread.loaders):
        walk.escape(arguments.node, tuple(arguments.pairs), "is divided by")
        return tensor(
            mixed("HR304", "a count of the worker's slice is not added up in evaluation", arguments.node, spread)
        )
    return _counted(walk, value, arguments)
