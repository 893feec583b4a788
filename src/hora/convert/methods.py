"""What the methods of things give that a library made: networks, optimizers, containers, and what is not known."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from hora.convert import (
    assumptions,
    calls,
    containers,
    gradients,
    library,
    names,
    networks,
    python,
    runtime,
    shapes,
    tensors,
)
from hora.convert.arguments import Arguments
from hora.convert.facts import STORED
from hora.convert.spread import ALIKE, mixed
from hora.convert.values import (
    UNKNOWN,
    Box,
    Class,
    Criterion,
    Foreign,
    Function,
    Generator,
    Instance,
    Loader,
    Method,
    Optimizer,
    Output,
    Parallel,
    Parameters,
    Scaler,
    Scheduler,
    Stream,
    Super,
    Thing,
    Value,
    Weights,
    of,
    tensor,
)

if TYPE_CHECKING:
    from hora.convert.walk import Walk


def call(walk: Walk, thing: Method, arguments: Arguments) -> Value:
    """Give what a method gives of something that a library made."""
    receiver, name, node = thing.receiver, thing.name, arguments.node
    receiver = receiver.receiver if isinstance(receiver, Super) else receiver
    if isinstance(receiver, Parallel):
        return of(receiver) if name in names.SAME else UNKNOWN
    if networks.is_module(receiver):
        return networks.module_method(walk, receiver, name, arguments)
    if isinstance(receiver, Criterion) and name in names.SAME:
        return of(receiver)
    if isinstance(receiver, Box):
        return containers.method(walk, receiver, name, arguments)
    if isinstance(receiver, Class):
        return gradients.apply(walk, receiver, arguments)
    if gradients.is_context(receiver):
        return gradients.kept(walk, receiver, name, arguments)
    if isinstance(receiver, Scaler) and name == "scale" and arguments.values:
        return arguments.values[0]
    if isinstance(receiver, Loader) and name in ("total", "gather"):
        return runtime.of_loader(walk, name, arguments)
    if isinstance(receiver, Stream) and name in ("__next__", "next"):
        return python.following(walk, of(receiver), node)
    if isinstance(receiver, Optimizer | Scaler | Scheduler):
        return _trains(walk, receiver, name, arguments)
    if isinstance(receiver, Generator):
        return _generates(walk, receiver, name, arguments)
    if isinstance(receiver, Stream | Output | Foreign | Instance):
        return _foreign(walk, receiver, name, arguments)
    if isinstance(receiver, Parameters) and name.startswith("new_"):
        return tensor(shapes.made(walk, arguments.values, node, ALIKE))
    if isinstance(receiver, Parameters):
        if name in tensors.DRAWN:
            walk.change(receiver.module, "drawn", node)
        parts = tuple((part, value) for part, value in arguments.pairs if walk.state.deep_spread(value).local)
        if parts and name.endswith("_") and not name.endswith("__"):
            walk.escape(node, parts, STORED)
        return of(receiver)
    return calls.not_followed(walk, arguments, ast.unparse(node.func))


def _trains(walk: Walk, receiver: Thing, name: str, arguments: Arguments) -> Value:
    """Give what a method of an optimizer, scaler or scheduler gives."""
    node = arguments.node
    if name == "step":
        walk.happen("step", node)
        closures = [one for value in arguments.all for one in value.things if isinstance(one, Function)]
        for closure in closures:
            walk.happen("closure", node)
            calls.inline(walk, closure, node, (), ())
        if isinstance(receiver, Scheduler):
            parts = tuple((part, value) for part, value in arguments.pairs if not value.spread.alike)
            walk.escape(node, parts, "sets the learning rate", decides=True)
    if name == "load_state_dict":
        walk.change(receiver, "loaded", node)
    return UNKNOWN


def _generates(walk: Walk, receiver: Generator, name: str, arguments: Arguments) -> Value:
    """Give what a method of a generator of random numbers gives."""
    if name in ("manual_seed", "seed") and arguments.values:
        return Value(
            walk.state.deep_spread(arguments.values[0]) if not arguments.values[0].spread.alike else UNKNOWN.spread,
            frozenset({receiver}),
        )
    return UNKNOWN


def _foreign(walk: Walk, receiver: Thing, name: str, arguments: Arguments) -> Value:
    """Give what a method of something gives that is not followed."""
    node = arguments.node
    parts = tuple((part, value) for part, value in arguments.pairs if walk.state.deep_spread(value).local)
    text = ast.unparse(node.func)
    if parts and name in names.SHOWS and "SummaryWriter" in getattr(receiver, "maker", ""):
        return library.speak(walk, f"{getattr(receiver, 'maker', '')}.{name}", arguments)
    if parts:
        walk.escape(node, parts, f"goes to {text}()")
        return tensor(mixed("HR908", f"{text}() is not followed", node, *(walk.state.deep_spread(v) for _, v in parts)))
    if isinstance(receiver, Foreign) and any(name.startswith(part) for part in ("parameters", "named_parameters")):
        return of(Parameters(receiver))
    if isinstance(receiver, Foreign) and name == "state_dict":
        return of(Weights(receiver))
    if (
        isinstance(receiver, Foreign)
        and name in names.SHUFFLING
        and not any(seed in dict(arguments.keywords) for seed in names.SEEDED)
    ):
        return Value(walk.stream("numpy", node), frozenset({Foreign(node, walk.context, name)}))
    if isinstance(receiver, Foreign) and name in names.SAME:
        return of(receiver)
    if name == "add_argument":
        assumptions.declare(walk, arguments)
    if isinstance(receiver, Foreign) and name == "step":
        walk.happen("step", node)
    if isinstance(receiver, Foreign) and name == "load_state_dict":
        walk.change(receiver, "loaded", node)
    return of(Foreign(node, walk.context, f"{getattr(receiver, 'maker', '')}.{name}"))
