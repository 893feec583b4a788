"""Networks, layers and losses that a library makes: what they are, and what their output is made of."""

from __future__ import annotations

import ast
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from hora.convert import calls, children, names, ranks, sequences, written
from hora.convert.along import meeting
from hora.convert.arguments import Arguments, literal
from hora.convert.memory import ANY
from hora.convert.spread import ALIKE, ENTRIES, Kind, Spread, mixed, nonlinear
from hora.convert.values import (
    UNKNOWN,
    Batch,
    Constant,
    Criterion,
    Foreign,
    Function,
    Instance,
    Module,
    Packed,
    Parameters,
    Thing,
    Value,
    Weights,
    of,
    tensor,
)

if TYPE_CHECKING:
    from hora.convert.walk import Walk


_ASKS = frozenset({"isinstance", "type", "print", "len", "hasattr", "getattr", "str", "find", "lower", "startswith"})


BUFFERS = "buffers by names that are computed"


def is_restored(thing: Thing) -> bool:
    """Whether a checkpoint holds a thing whole: beside one that the script makes it is the same one, from before."""
    return isinstance(thing, Foreign) and thing.maker == "torch.load"


def is_module(thing: Thing) -> bool:
    """Whether a thing is a network or a layer."""
    if isinstance(thing, Instance):
        return any(base.startswith("torch.nn.") for base in thing.cls.bases)
    return isinstance(thing, Module)


def layer(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give a layer, a loss or a parameter of torch.nn."""
    last = name.rpartition(".")[2]
    if last in names.CRITERIA:
        return of(criterion(names.CRITERIA[last], arguments, given=0))
    if last in ("Parameter", "ParameterList", "ParameterDict"):
        return UNKNOWN
    module = Module(arguments.node, walk.context, name)
    walk.state.trace.lose()
    walk.facts.made.setdefault(module, walk.place)
    walk.state.forget(module)
    layers = {thing for value in arguments.all for thing in walk.state.deep_things(value) if is_module(thing)}
    if name in names.CONTAINERS:
        walk.state.set(module, ANY, Value(things=frozenset(layers)))
        walk.facts.bind(module, ANY, Value(things=frozenset(layers)))
        for given in arguments.values:
            for box in given.things:
                for label, value in walk.state.held(box).items() if name == "torch.nn.ModuleDict" else ():
                    walk.state.set(module, label.strip("[']"), value)
                    walk.facts.bind(module, label.strip("[']"), value)
    return of(module)


def criterion(name: str, arguments: Arguments, *, given: int) -> Criterion:
    """Read how a loss is asked to reduce; ``given`` arguments come before its options."""
    reduction: object = "mean"
    options = dict(arguments.keywords)
    if "reduction" in options:
        reduction = {"batchmean": "mean"}.get(str(literal(options["reduction"])), literal(options["reduction"]))
    for old, other in (("size_average", "sum"), ("reduce", "none")):
        if old in options:
            asked = literal(options[old])
            reduction = reduction if asked is True else other if asked is False else None
    positional = len(arguments.values) > given or None in options
    ragged = name in ("cross_entropy", "nll_loss") and (positional or bool({"weight", "ignore_index"} & options.keys()))
    known = isinstance(reduction, str) and not (positional and not ragged)
    return Criterion(name, str(reduction) if known else "unknown", ragged, arguments.node)


@lru_cache(maxsize=256)
def writes_ignored(tree: ast.Module) -> bool:
    """Whether a file has the number -100 in it."""
    return any(
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and isinstance(node.operand, ast.Constant)
        and node.operand.value == 100
        for node in ast.walk(tree)
    )


def loss(walk: Walk, wanted: Criterion, arguments: Arguments) -> Value:
    """Give a loss of the library, reduced as it was asked to be."""
    node = arguments.node
    written.compared(walk, arguments)
    parts = tuple(walk.state.deep_spread(value) for value in arguments.values[:4])
    parts = tuple(part for part in parts if part.kind is not Kind.COUNT)
    if wanted.maker == "ctc_loss" and parts and parts[0].kind is Kind.ROWS and parts[0].axis == 1:
        # Of what is scored, time comes first; of the rest, the samples.
        parts = (replace(parts[0], axis=0), *parts[1:])
    spread = nonlinear(parts, node, f"{wanted.maker}()")
    if spread.kind not in ENTRIES:
        return tensor(ALIKE if spread.kind is Kind.ZERO else spread)
    if wanted.reduction == "none":
        return tensor(replace(spread, flat=True))
    if wanted.reduction == "sum":
        return tensor(Spread(Kind.SUM, spread.loaders))
    if wanted.reduction != "mean":
        return tensor(mixed("HR303", f"the reduction of {wanted.maker}() cannot be told", node, spread))
    ignores = walk.ignores and wanted.maker in ("cross_entropy", "nll_loss")
    if wanted.ragged or ignores or spread.kind is Kind.RAGGED:
        message = f"{wanted.maker}() divides by a weight or a count of entries that differs from worker to worker"
        return tensor(mixed("HR304", message, node, spread))
    return tensor(Spread(Kind.MEAN, spread.loaders))


def forward(walk: Walk, module: Thing, arguments: Arguments) -> Value:
    """Give what a library's network or layer gives."""
    walk.facts.used.setdefault(module, []).append(walk.place)
    maker = module.maker if isinstance(module, Module) else ""
    if maker.startswith("torchvision.models.detection.") and len(arguments.all) > 1:
        spreads = [walk.state.deep_spread(value) for value in arguments.all]
        message = "the losses of a detector divide by counts of boxes, which differ from worker to worker"
        return tensor(mixed("HR304", message, arguments.node, *spreads))
    if maker == "torch.nn.Sequential" and arguments.values:
        result = arguments.values[0]
        for child in walk.state.element(module, None).things:
            passed = calls.call_thing(walk, child, Arguments(arguments.node, (result,)))
            result = passed if passed.spread.kind in (*ENTRIES, Kind.MIXED) else result
        return result
    spread = _passed(walk, arguments.all, arguments.node, maker or "a layer")
    first = walk.state.deep_spread(arguments.values[0]) if arguments.values else spread
    met = meeting(walk, module, first) if isinstance(module, Module) else None
    if met is not None:
        return tensor(mixed("HR305", met, arguments.node, spread))
    if maker in names.RECURRENT:
        if spread.kind in ENTRIES and len(arguments.values) > 1 and _whole(walk, arguments.values[1]):
            spread = mixed("HR207", "a hidden state for the whole batch meets a slice of it", arguments.node, spread)
        if arguments.values and Packed() in arguments.values[0].things:
            return sequences.through(Value(spread), both=maker.endswith("LSTM"))
        # Of the sequences the axis of the samples is the second one, too, where they do not come first.
        known = spread.kind in ENTRIES and spread.axis == (0 if _batch_first(module) else 1)
        output = tensor(spread if known or not spread.local else replace(spread, axis=None))
        state = tensor(replace(spread, axis=1 if known else None) if spread.local else spread)
        hidden = Value(items=(state, state)) if maker.endswith("LSTM") else state
        return Value(items=(output, hidden))
    if maker in names.PAIRS:
        return Value(items=(tensor(spread), tensor(spread)))
    if maker == "torch.nn.AdaptiveLogSoftmaxWithLoss":
        return tensor(mixed("HR301", "a loss with parameters of its own is not followed", arguments.node, spread))
    if maker.startswith("torch.nn.") or not spread.local:
        first_given = arguments.values[0] if arguments.values else UNKNOWN
        return replace(tensor(spread), rank=ranks.through(maker, first_given))
    return Value(replace(spread, axis=0 if spread.kind is Kind.ROWS else None), frozenset({Batch()}))


def _batch_first(module: Thing) -> bool:
    """Whether a recurrent layer takes the samples along the first axis."""
    site = module.site if isinstance(module, Module) else None
    options = {one.arg: one.value for one in site.keywords} if isinstance(site, ast.Call) else {}
    first = options.get("batch_first")
    return isinstance(first, ast.Constant) and first.value is True


def _whole(walk: Walk, state: Value) -> bool:
    """Whether a hidden state is given, and is alike on all workers."""
    return walk.state.deep_spread(state).alike and state.things != {Constant(None, "NoneType")}


def combined(walk: Walk, values: tuple[Value, ...], node: ast.AST) -> Value:
    """Give what a network gives that is not followed any further: entries of samples stay entries."""
    return tensor(_passed(walk, values, node, "a network"))


def _passed(walk: Walk, values: tuple[Value, ...], node: ast.AST, name: str) -> Spread:
    """Give how a network's output spreads: as its inputs do, the axis of samples being that of the first."""
    spreads = [walk.state.deep_spread(value) for value in values]
    kept = [
        replace(one, axis=one.axis if one is spreads[0] else None, flat=False)
        for one in spreads
        if one.kind is not Kind.COUNT
    ]
    return nonlinear(tuple(kept), node, name)


def _draws(walk: Walk, arguments: Arguments) -> bool:
    """Whether what is applied to each layer may change its parameters: a function of the script's may not that asks.

    One that sets a layer's momentum, say, is told by what it names and calls, also where a lambda hands on to it.
    """
    functions = [thing for value in arguments.values for thing in value.things if isinstance(thing, Function)]
    nodes = [node for function in functions for node in ast.walk(function.node)]
    for node in list(nodes):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            things = (walk.lookup(node.func.id) or UNKNOWN).things
            nodes += [inner for thing in things if isinstance(thing, Function) for inner in ast.walk(thing.node)]
            functions += [thing for thing in things if isinstance(thing, Function)]
    own = {function.node.name for function in functions if not isinstance(function.node, ast.Lambda)}
    named = {getattr(node, "attr", getattr(node, "id", "")) for node in nodes}
    called = {getattr(node.func, "attr", getattr(node.func, "id", "")) for node in nodes if isinstance(node, ast.Call)}
    return not functions or bool(called - own - _ASKS) or bool(named & {"data", "weight", "bias"})


def module_method(walk: Walk, module: Thing, name: str, arguments: Arguments) -> Value:
    """Give what a method that every network has gives."""
    if name in ("parameters", "named_parameters"):
        return of(Parameters(module))
    if name == "state_dict":
        return of(Weights(module))
    if name == "forward" and isinstance(module, Module):
        return forward(walk, module, arguments)
    if name == "load_state_dict" or (name == "apply" and _draws(walk, arguments)):
        walk.change(module, "loaded" if name == "load_state_dict" else "drawn", arguments.node)
        parts = tuple((node, value) for node, value in arguments.pairs if not walk.state.deep_spread(value).alike)
        walk.escape(arguments.node, parts, "is loaded into the network", decides=True)
    if name in names.MOVES:
        walk.change(module, "moved", arguments.node)
    if name in names.SAME or (name == "from_pretrained" and isinstance(module, Module)):
        return of(module)
    if name in ("register_buffer", "register_parameter", "add_module", "register_module") and len(arguments.values) > 1:
        label, value = literal(arguments.values[0]), arguments.values[1]
        if name == "register_buffer" and not isinstance(label, str):
            walk.state.set(module, BUFFERS, UNKNOWN)
        if isinstance(label, str):
            kept = value if name in ("add_module", "register_module") else UNKNOWN
            if name == "register_buffer":
                walk.facts.buffers.setdefault(module, set()).add(label)
            walk.state.set(module, label, kept)
            walk.facts.bind(module, label, kept)
        if name in ("add_module", "register_module"):
            walk.state.add(module, ANY, value)
            walk.facts.bind(module, ANY, value)
        return UNKNOWN
    if isinstance(module, Module) and module.maker == "torch.nn.Transformer" and name in ("encoder", "decoder"):
        return forward(walk, replace(module, maker=f"torch.nn.Transformer{name.capitalize()}"), arguments)
    if name == "_conv_forward":
        return combined(walk, arguments.values, arguments.node)
    if name in ("append", "extend", "insert") and arguments.values:
        layers = frozenset(t for t in walk.state.deep_things(arguments.values[-1]) if is_module(t))
        walk.state.add(module, ANY, Value(things=layers))
        walk.facts.bind(module, ANY, Value(things=layers))
        return of(module)
    if name in children.HANDED_OUT:
        return children.handed_out(walk, module, name, arguments)
    if name in (
        "__init__",
        "load_state_dict",
        "zero_grad",
        "buffers",
        "keys",
    ):
        return UNKNOWN
    if isinstance(module, Module) and any(walk.state.deep_spread(value).local for value in arguments.all):
        return (
            forward(walk, module, arguments)
            if not module.maker.startswith("torch.nn.")
            else calls.not_followed(walk, arguments, f"{module.maker}.{name}")
        )
    if isinstance(module, Module) and not arguments.all:
        return of(Module(arguments.node, walk.context, "part"))
    if any(walk.state.deep_spread(value).local for value in arguments.all):
        return calls.not_followed(walk, arguments, name)
    return UNKNOWN


def pretrained(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give a network that a library makes whole."""
    module = Module(arguments.node, walk.context, name)
    walk.facts.made.setdefault(module, walk.place)
    return of(module)


def copied(walk: Walk, arguments: Arguments) -> Value:
    """Give a copy of a value; a copy of a network is a network of its own."""
    copies: set[Thing] = set()
    for thing in arguments.values[0].things:
        copy: Thing = thing
        if isinstance(thing, Instance):
            copy = Instance(arguments.node, walk.context, thing.cls)
        elif isinstance(thing, Module):
            copy = Module(arguments.node, walk.context, thing.maker)
        elif isinstance(thing, Foreign | Constant):
            copy = thing
        if copy is not thing:
            walk.facts.made.setdefault(copy, walk.place)
            for name, value in walk.state.held(thing).items():
                walk.state.set(copy, name, value)
                walk.facts.bind(copy, name, value)
        copies.add(copy)
    return replace(arguments.values[0], things=frozenset(copies))
