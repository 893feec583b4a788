"""Networks, layers and losses that a library makes: what they are, and what their output is made of."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from hora.convert import calls
from hora.convert.arguments import Arguments, literal
from hora.convert.memory import ANY
from hora.convert.spread import ALIKE, ENTRIES, Kind, Spread, mixed, nonlinear
from hora.convert.values import (
    UNKNOWN,
    Batch,
    Constant,
    Criterion,
    Foreign,
    Instance,
    Module,
    Parameters,
    Thing,
    Value,
    Weights,
    of,
    tensor,
)

if TYPE_CHECKING:
    from hora.convert.walk import Walk

LOSSES = frozenset({
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
    "kl_div", "binary_cross_entropy_with_logits", "hinge_embedding_loss", "margin_ranking_loss", "multi_margin_loss",
    "multilabel_margin_loss", "multilabel_soft_margin_loss", "soft_margin_loss", "cosine_embedding_loss",
    "triplet_margin_loss", "poisson_nll_loss", "gaussian_nll_loss", "ctc_loss", "triplet_margin_with_distance_loss",
})  # fmt: skip
CRITERIA = {
    "CrossEntropyLoss": "cross_entropy", "NLLLoss": "nll_loss", "NLLLoss2d": "nll_loss", "MSELoss": "mse_loss",
    "L1Loss": "l1_loss", "SmoothL1Loss": "smooth_l1_loss", "HuberLoss": "huber_loss", "BCELoss": "binary_cross_entropy",
    "KLDivLoss": "kl_div", "BCEWithLogitsLoss": "binary_cross_entropy_with_logits", "CTCLoss": "ctc_loss",
    "HingeEmbeddingLoss": "hinge_embedding_loss", "MarginRankingLoss": "margin_ranking_loss",
    "MultiMarginLoss": "multi_margin_loss", "MultiLabelMarginLoss": "multilabel_margin_loss",
    "MultiLabelSoftMarginLoss": "multilabel_soft_margin_loss", "SoftMarginLoss": "soft_margin_loss",
    "CosineEmbeddingLoss": "cosine_embedding_loss", "TripletMarginLoss": "triplet_margin_loss",
    "PoissonNLLLoss": "poisson_nll_loss", "GaussianNLLLoss": "gaussian_nll_loss",
}  # fmt: skip
RECURRENT = frozenset({"torch.nn.LSTM", "torch.nn.GRU", "torch.nn.RNN"})
PAIRS = frozenset({"torch.nn.LSTMCell", "torch.nn.MultiheadAttention"})
WITHOUT_WEIGHTS = frozenset({
    "ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "Sigmoid", "Tanh", "Softmax",
    "LogSoftmax", "Softplus", "Softsign", "Hardtanh", "Hardswish", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d",
    "AlphaDropout", "MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "Upsample",
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool2d", "Flatten", "Unflatten",
    "Identity", "ZeroPad2d", "ReflectionPad2d", "ReplicationPad2d", "ConstantPad2d", "PixelShuffle",
    "UpsamplingBilinear2d", "UpsamplingNearest2d", "CosineSimilarity", "PairwiseDistance", "Fold", "Unfold",
    "DataParallel",
})  # fmt: skip
MOVES = frozenset({"to", "cuda", "cpu", "half", "float", "double", "bfloat16"})
CONTAINERS = frozenset({"torch.nn.Sequential", "torch.nn.ModuleList", "torch.nn.ModuleDict"})
SAME = frozenset({
    "to", "cuda", "cpu", "train", "eval", "half", "float", "double", "bfloat16", "apply", "requires_grad_",
    "share_memory", "type", "to_empty", "compile",
})  # fmt: skip


def is_module(thing: Thing) -> bool:
    """Whether a thing is a network or a layer."""
    if isinstance(thing, Instance):
        return any(base.startswith("torch.nn.") for base in thing.cls.bases)
    return isinstance(thing, Module)


def layer(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give a layer, a loss or a parameter of torch.nn."""
    last = name.rpartition(".")[2]
    if last in CRITERIA:
        return of(criterion(CRITERIA[last], arguments, given=0))
    if last in ("Parameter", "ParameterList", "ParameterDict"):
        return UNKNOWN
    module = Module(arguments.node, walk.context, name)
    walk.facts.made.setdefault(module, walk.place)
    walk.state.forget(module)
    children = {thing for value in arguments.all for thing in walk.state.deep_things(value) if is_module(thing)}
    if name in CONTAINERS:
        walk.state.set(module, ANY, Value(things=frozenset(children)))
        walk.facts.bind(module, ANY, Value(things=frozenset(children)))
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
    return Criterion(
        name, reduction if isinstance(reduction, str) and not (positional and not ragged) else "unknown", ragged
    )


def loss(walk: Walk, wanted: Criterion, arguments: Arguments) -> Value:
    """Give a loss of the library, reduced as it was asked to be."""
    node = arguments.node
    parts = tuple(walk.state.deep_spread(value) for value in arguments.values[:4])
    parts = tuple(part for part in parts if part.kind is not Kind.COUNT)
    spread = nonlinear(parts, node, f"{wanted.maker}()")
    if spread.kind not in ENTRIES:
        return tensor(ALIKE if spread.kind is Kind.ZERO else spread)
    if wanted.reduction == "none":
        return tensor(spread)
    if wanted.reduction == "sum":
        return tensor(Spread(Kind.SUM, spread.loaders))
    if wanted.reduction != "mean":
        return tensor(mixed("HR303", f"the reduction of {wanted.maker}() cannot be told", node, spread))
    if wanted.ragged or spread.kind is Kind.RAGGED:
        message = f"{wanted.maker}() divides by a weight or a count of entries that differs from worker to worker"
        return tensor(mixed("HR304", message, node, spread))
    return tensor(Spread(Kind.MEAN, spread.loaders))


def forward(walk: Walk, module: Thing, arguments: Arguments) -> Value:
    """Give what a library's network or layer gives."""
    walk.facts.used.setdefault(module, []).append(walk.place)
    maker = module.maker if isinstance(module, Module) else ""
    if maker == "torch.nn.Sequential" and arguments.values:
        result = arguments.values[0]
        for child in walk.state.element(module, None).things:
            passed = calls.call_thing(walk, child, Arguments(arguments.node, (result,)))
            result = passed if passed.spread.kind in (*ENTRIES, Kind.MIXED) else result
        return result
    spreads = tuple(walk.state.deep_spread(value) for value in arguments.all)
    spread = nonlinear(tuple(one for one in spreads if one.kind is not Kind.COUNT), arguments.node, maker or "a layer")
    if maker in RECURRENT:
        inner = tensor(replace(spread, axis=None) if spread.local else spread)
        hidden = Value(items=(inner, inner)) if maker.endswith("LSTM") else inner
        return Value(items=(inner, hidden))
    if maker in PAIRS:
        return Value(items=(tensor(spread), tensor(spread)))
    if maker == "torch.nn.AdaptiveLogSoftmaxWithLoss":
        return tensor(mixed("HR301", "a loss with parameters of its own is not followed", arguments.node, spread))
    if maker.startswith("torch.nn.") or not spread.local:
        return tensor(spread)
    return Value(spread, frozenset({Batch()}))


def combined(walk: Walk, values: tuple[Value, ...], node: ast.AST) -> Value:
    """Give what a network gives that is not followed any further: entries of samples stay entries."""
    spreads = tuple(walk.state.deep_spread(value) for value in values)
    return tensor(nonlinear(tuple(one for one in spreads if one.kind is not Kind.COUNT), node, "a network"))


def module_method(walk: Walk, module: Thing, name: str, arguments: Arguments) -> Value:
    """Give what a method that every network has gives."""
    if name in ("parameters", "named_parameters"):
        return of(Parameters(module))
    if name == "state_dict":
        return of(Weights(module))
    if name in ("load_state_dict", "apply"):
        walk.change(module, "loaded" if name == "load_state_dict" else "drawn", arguments.node)
        parts = tuple((node, value) for node, value in arguments.pairs if not walk.state.deep_spread(value).alike)
        walk.escape(arguments.node, parts, "is loaded into the network", decides=True)
    if name in MOVES:
        walk.change(module, "moved", arguments.node)
    if name in SAME:
        return of(module)
    if name in ("register_buffer", "register_parameter", "add_module", "register_module") and len(arguments.values) > 1:
        label, value = literal(arguments.values[0]), arguments.values[1]
        if isinstance(label, str):
            kept = value if name == "add_module" else UNKNOWN
            walk.state.set(module, label, kept)
            walk.facts.bind(module, label, kept)
        return UNKNOWN
    if name in ("append", "extend", "insert") and arguments.values:
        children = frozenset(t for t in walk.state.deep_things(arguments.values[-1]) if is_module(t))
        walk.state.add(module, ANY, Value(things=children))
        walk.facts.bind(module, ANY, Value(things=children))
        return of(module)
    if name in ("children", "modules"):
        return of(module)
    if name in (
        "__init__",
        "load_state_dict",
        "zero_grad",
        "named_children",
        "named_modules",
        "buffers",
        "items",
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
