"""What the names of libraries stand for: which calls make loaders and optimizers, and which functions speak or save."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hora.convert import (
    access,
    calls,
    choices,
    containers,
    distributions,
    listings,
    names,
    networks,
    python,
    randomness,
    runtime,
    sequences,
    shapes,
    tensors,
)
from hora.convert.arguments import Arguments
from hora.convert.facts import SHOWN
from hora.convert.memory import either
from hora.convert.spread import ALIKE, EARLIER, ENTRIES, ZERO, Kind, add, mixed, nonlinear, own
from hora.convert.values import (
    UNKNOWN,
    Box,
    Class,
    Foreign,
    Function,
    Loader,
    Named,
    Optimizer,
    Parallel,
    Parameters,
    Partial,
    Scaler,
    Scheduler,
    Stream,
    Thing,
    Value,
    of,
    ordered,
    tensor,
)

if TYPE_CHECKING:
    from hora.convert.walk import Walk


def call(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give what a call of a library's function or class gives."""
    node = arguments.node
    last = name.rpartition(".")[2]
    if name.startswith(f"{runtime.NAME}."):
        return runtime.call(walk, last, arguments)
    if name.startswith("builtins."):
        return python.call(walk, last, arguments)
    if name in names.LOADERS:
        return loader(walk, arguments)
    if name.startswith("torch.utils.data.") and last[:1].isupper():
        return _data(walk, name, arguments)
    if name.startswith("torch.optim.lr_scheduler."):
        return of(Scheduler(node, walk.context, name))
    if name.startswith("torch.optim.") and name.count(".") == 2 and last[:1].isupper():
        return optimizer(walk, name, arguments)
    if last == "GradScaler" and name.startswith("torch."):
        return of(Scaler(node, walk.context))
    if name in names.BARS | names.STREAMS and arguments.values:
        return python.streamed(walk, arguments, arguments.values[0])
    if name in ("collections.defaultdict", "collections.Counter", "collections.OrderedDict", "collections.deque"):
        return containers.counter(walk, arguments)
    if name in ("collections.namedtuple", "typing.NamedTuple"):
        return of(Named(f"{name}()"))
    if name in ("collections.namedtuple()", "typing.NamedTuple()"):
        return Value(items=arguments.all)
    if name == "importlib.import_module" and (package := choices.imported(walk, arguments)) is not None:
        return package
    if name == "functools.partial" and arguments.values:
        return of(Partial(node, walk.context, arguments.values, arguments.keywords))
    if name == "itertools.product" and any(walk.state.deep_spread(value).local for value in arguments.values):
        return calls.not_followed(walk, arguments, name)
    if name in ("itertools.chain", "itertools.product"):
        return python.chained(walk, arguments)
    if name in ("itertools.count", "tqdm.trange", "tqdm.auto.trange", "tqdm.notebook.trange"):
        return python.call(walk, "range", arguments)
    drawn = randomness.call(walk, name, arguments)
    if drawn is not None:
        return drawn
    if name.startswith(distributions.NAME) and (last[:1].isupper() or last == "kl_divergence"):
        return distributions.call(walk, name, arguments)
    if name.startswith(sequences.NAME) and (sequence := sequences.call(walk, name, arguments)) is not None:
        return sequence
    if name.startswith("torch.nn.functional."):
        return _functional(walk, last, arguments)
    if name.startswith(("torch.nn.init.", "torch.nn.utils.clip_grad")):
        for thing in arguments.values[0].things if name.startswith("torch.nn.init.") and arguments.values else ():
            if isinstance(thing, Parameters):
                walk.change(thing.module, "drawn", node)
        return UNKNOWN
    if name in names.SYNCHRONISED | names.NORMED and arguments.values:
        return arguments.values[0]
    if name == names.PARALLEL and arguments.values:
        return replace(arguments.values[0], things=arguments.values[0].things | {Parallel()})
    if name.startswith("torch.utils.checkpoint") and arguments.values:
        return _recomputed(walk, last, arguments)
    if name in names.SPREADERS and arguments.values:
        return _spread_out(walk, last, arguments)
    if name.startswith("torch.nn.") and last[:1].isupper() and name.count(".") == 2:
        return networks.layer(walk, name, arguments)
    if name.startswith(names.NETWORKS) or (name.startswith("timm.") and last == "create_model"):
        return networks.pretrained(walk, name, arguments)
    if name.startswith(names.CLOCKS):
        return tensor(own("HR403", f"{name}() differs from worker to worker", node), number=True)
    if name == "torch.autograd.Variable" and arguments.values:
        return arguments.values[0]
    if name in ("copy.deepcopy", "copy.copy") and arguments.values:
        return networks.copied(walk, arguments)
    if last == "make_grid" and arguments.values:
        return tensor(walk.state.deep_spread(arguments.values[0]))
    if (
        name in names.PRINTERS
        or name in names.SAVERS
        or name.startswith(("logging.", "loguru.", "wandb.", "mlflow.", *names.PICTURES))
    ):
        return speak(walk, name, arguments)
    if name == "torch.autograd.backward" and arguments.values:
        walk.backward(node, node.args[0], arguments.values[0])
        return UNKNOWN
    if name == "torch.autograd.grad":
        return _gradient(walk, arguments)
    if name in ("sys.exit", "os._exit"):
        walk.happen("exit", node)
        return UNKNOWN
    if name in names.RUNNERS:
        for value in arguments.values[:1]:
            for function in value.things:
                if isinstance(function, Function):
                    calls.inline(walk, function, node, (), ())
        return UNKNOWN
    if name == "torch.device":
        return of(Foreign(node, walk.context, name))
    if (name.startswith("torch.") and name.count(".") == 1) or name.startswith(
        ("torch.fft.", "torch.linalg.", "torch.special.")
    ):
        return _torch(walk, name, last, arguments)
    if name.startswith(("numpy.", "math.")):
        return _numpy(walk, last, arguments)
    if node in walk.optimizers:
        return optimizer(walk, name, arguments)
    return calls.not_followed(walk, arguments, name)


def speak(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Note what is printed, drawn or saved of the worker's slice."""
    parts = tuple((node, value) for node, value in arguments.pairs if walk.state.deep_spread(value).local)
    pictures = name.startswith(names.PICTURES) or name.rpartition(".")[2] in names.SHOWS
    if pictures or name in ("print", *names.PRINTERS):
        shown = tuple((node, value) for node, value in parts if _of_samples(walk, value, printed=not pictures))
        parts = tuple(part for part in parts if part not in shown)
        if shown:
            walk.happen("show", arguments.node)
        kept = tuple(part for part in shown if pictures and _is_kept(walk, part[1]))
        if kept:
            walk.escape(arguments.node, kept, SHOWN)
    walk.escape(arguments.node, parts, f"goes to {name}()")
    return of(Foreign(arguments.node, walk.context, name))


def _is_kept(walk: Walk, value: Value) -> bool:
    """Whether a value is of samples of earlier batches, too."""
    why = walk.state.deep_spread(value).why
    return why is not None and why.message == EARLIER


def _of_samples(walk: Walk, value: Value, *, printed: bool) -> bool:
    """Whether a value is of single samples, as a picture is; one printed in an evaluation is to be there for all."""
    spread = walk.state.deep_spread(value)
    entries = spread.kind in (*ENTRIES, Kind.EACH, Kind.LISTED)
    if printed:
        return entries and not any(getattr(one, "dealt", "") == "evaluation" for one in spread.loaders)
    return entries or (spread.kind is Kind.MIXED and spread.why is not None and spread.why.code in ("HR305", "HR207"))


def loader(walk: Walk, arguments: Arguments) -> Value:
    """Give a DataLoader."""
    made = Loader(arguments.node, walk.context)
    walk.state.trace.lose()
    walk.facts.given[made] = arguments
    walk.given_size(arguments.get(1, "batch_size"))
    walk.facts.made.setdefault(made, walk.place)
    walk.facts.hand_over(made, walk.state)
    return of(made)


def _data(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give a data set or sampler of torch's, which goes on holding what it is given."""
    made = calls.not_followed(walk, arguments, name)
    for thing in made.things:
        for place, value in enumerate(arguments.all):
            walk.state.set(thing, f"({place})", value)
    return made


def optimizer(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give an optimizer, with the modules whose parameters it is given."""
    made = Optimizer(arguments.node, walk.context, name)
    walk.state.trace.lose()
    given: frozenset[Thing] = frozenset().union(*(walk.state.deep_things(value) for value in arguments.all))
    walk.facts.made.setdefault(made, walk.place)
    modules = {thing.module for thing in given if isinstance(thing, Parameters)}
    walk.facts.trained[made] = frozenset(modules or (thing for thing in given if networks.is_module(thing)))
    return of(made)


def derived(walk: Walk, cls: Class, arguments: Arguments) -> Value | None:
    """Give what a class of the file makes that derives from a loader, optimizer or scheduler of the library."""
    for base in cls.bases:
        if base.startswith("torch.optim.lr_scheduler."):
            return of(Scheduler(arguments.node, walk.context, cls.node.name))
        if base.startswith("torch.optim."):
            return optimizer(walk, cls.node.name, arguments)
        if base in names.LOADERS:
            return loader(walk, arguments)
    return None


def _functional(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give what a function of torch.nn.functional gives."""
    if name in names.LOSSES:
        count = 3 if name in ("margin_ranking_loss", "triplet_margin_loss", "cosine_embedding_loss") else 2
        count = {"gaussian_nll_loss": 3, "ctc_loss": 4}.get(name, count)
        return networks.loss(walk, networks.criterion(name, arguments, given=count), arguments)
    return tensors.operation(walk, name, arguments.values, arguments)


def _torch(walk: Walk, name: str, last: str, arguments: Arguments) -> Value:
    """Give what a function of torch itself gives."""
    if last == "compile":
        return arguments.values[0] if arguments.values else UNKNOWN
    if last in ("cat", "concat", "concatenate", "stack", "hstack", "vstack", "column_stack") and arguments.values:
        return _joined(walk, last, arguments)
    if last == "where" and len(arguments.values) == 3:
        spreads = tuple(walk.state.deep_spread(value) for value in arguments.values)
        return tensor(nonlinear(spreads, arguments.node, "where()"))
    if last in ("load",):
        return of(Foreign(arguments.node, walk.context, name))
    if last in ("no_grad", "enable_grad", "set_grad_enabled", "inference_mode", "autocast", "set_num_threads"):
        return UNKNOWN
    return tensors.operation(walk, last, arguments.values, arguments)


def _recomputed(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give what a function gives whose activations are computed anew in the backward pass."""
    function, *given = arguments.values
    if name == "checkpoint" and not given:
        return function
    inner = Arguments(arguments.node, tuple(given[-1:] if name == "checkpoint_sequential" else given))
    if not function.things:
        return calls.not_followed(walk, inner, f"a function handed to {name}")
    return either(calls.call_thing(walk, thing, inner) for thing in ordered(function.things))


def _spread_out(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give a network as it is without DataParallel, or what it gives."""
    if name[:1].isupper():
        return arguments.values[0]
    inner = Arguments(arguments.node, arguments.values[1:2])
    return either(calls.call_thing(walk, thing, inner) for thing in ordered(arguments.values[0].things))


def _joined(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give several tensors put together."""
    given = arguments.values[0]
    if listings.listed(walk, given) is not None:
        axes = shapes.axes_of(arguments.get(1, "dim"))
        stacked = listings.gathered(walk, given, whole=name == "stack" and axes in (None, frozenset({0})))
        return tensor(stacked.spread)
    parts = _joining(walk, given, arguments)
    spreads = tuple(walk.state.deep_spread(part) for part in parts)
    spread = ALIKE
    if any(one.kind in ENTRIES for one in spreads):
        spread = nonlinear(spreads, arguments.node, f"{name}()")
    else:
        for one in spreads:
            spread = add(spread, one, arguments.node)
    axes = shapes.axes_of(arguments.get(1, "dim"))
    if name == "stack":
        at = next(iter(axes), 0) if axes else 0
        moved = None if spread.axis is None or at < 0 else spread.axis + 1 if at <= spread.axis else spread.axis
        spread = replace(spread, axis=moved)
    kinds = {one.kind for one in spreads}
    if spread.kind in ENTRIES and len(kinds) > 1 and not kinds <= set(ENTRIES):
        at = next(iter(axes), 0) if axes else 0
        if spread.axis in (at, None):
            spread = mixed(
                "HR305", f"{name}() puts samples beside values that all workers have", arguments.node, spread
            )
    return tensor(spread, number=bool(parts) and all(part.number for part in parts))


def _joining(walk: Walk, given: Value, arguments: Arguments) -> tuple[Value, ...]:
    """Give the tensors that are put together."""
    if given.items is not None:
        return given.items
    if given.spread.kind in ENTRIES and not given.things:
        # A field of the batch: it is a list of tensors, or torch raises.
        axes = shapes.axes_of(arguments.get(1, "dim")) or frozenset({0})
        lengthened = shapes.among(given.spread.axis, axes)
        return (tensor(replace(given.spread, kind=Kind.RAGGED if lengthened else given.spread.kind)),)
    return (access.elements(walk, given, arguments.node)[0],)


def _numpy(walk: Walk, name: str, arguments: Arguments) -> Value:
    """Give what a function of numpy or math gives."""
    given = listings.gathered(walk, arguments.values[0]) if arguments.values else UNKNOWN
    if name in randomness.SIZED:
        content = ZERO if name == "zeros" else ALIKE
        uniform = name in randomness.UNIFORM
        return tensor(shapes.made(walk, arguments.values[:1], arguments.node, content, uniform=uniform))
    if any(isinstance(thing, Box | Stream) for thing in given.things):
        spread = walk.state.deep_spread(access.elements(walk, given, arguments.node)[0])
        if name in tensors.SUMS and spread.kind not in ENTRIES:
            return Value(spread, number=True)
    return replace(tensors.operation(walk, name, arguments.values, arguments), number=True)


def _gradient(walk: Walk, arguments: Arguments) -> Value:
    """Give gradients: of entries of samples, or their sum, with respect to entries of samples they are entries."""
    outputs, inputs = arguments.get(0, "outputs"), arguments.get(1, "inputs")
    spreads = tuple(walk.state.deep_spread(value) for value in (outputs, inputs) if value is not None)
    kinds = [one.kind for one in spreads]
    if kinds in ([Kind.ROWS, Kind.ROWS], [Kind.SUM, Kind.ROWS]):
        result = tensor(spreads[1])
        return Value(items=(result,))
    if any(one.local for one in spreads):
        return tensor(mixed("HR311", "gradients are taken by hand and not averaged", arguments.node, *spreads))
    return UNKNOWN
