"""Random numbers: which streams are seeded alike on all workers, and what is drawn from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hora.convert import access, shapes, written
from hora.convert.arguments import Arguments
from hora.convert.memory import ANY
from hora.convert.spread import ALIKE, ENTRIES, ZERO, Kind, Spread, mixed, own
from hora.convert.values import RANDOM, UNKNOWN, Box, Generator, Positions, Shuffled, Value, of, tensor

if TYPE_CHECKING:
    from hora.convert.walk import Walk

SEEDS = {
    "torch.manual_seed": ("torch",), "torch.random.manual_seed": ("torch",), "numpy.random.seed": ("numpy",),
    "random.seed": ("random",), "numpy.random.set_state": ("numpy",), "random.setstate": ("random",),
    "torch.set_rng_state": ("torch",), "transformers.set_seed": ("torch", "numpy", "random"),
}  # fmt: skip
MAKERS = frozenset({
    "torch.Generator", "numpy.random.RandomState", "numpy.random.default_rng", "numpy.random.Generator",
    "random.Random",
})  # fmt: skip
SPLITS = frozenset({
    "train_test_split", "KFold", "StratifiedKFold", "ShuffleSplit", "StratifiedShuffleSplit", "shuffle", "resample",
    "make_classification", "make_blobs", "make_moons", "make_circles", "make_regression",
})  # fmt: skip
SIZED = frozenset({
    "rand", "randn", "randint", "zeros", "ones", "empty", "full", "arange", "eye", "randperm", "tril", "triu",
    "Tensor", "FloatTensor", "LongTensor",
})  # fmt: skip


UNIFORM = frozenset({"zeros", "ones", "full"})
_GIVEN = frozenset({"Tensor", "FloatTensor", "LongTensor"})
_SQUARE = frozenset({"eye", "tril", "triu"})


def stream_of(name: str) -> str | None:
    """Give the stream of random numbers that a library's function draws from; None where it has its own."""
    if name in MAKERS:
        return None
    top = name.partition(".")[0]
    return {"sklearn": "numpy"}.get(top, top) if top in ("torch", "numpy", "random", "sklearn") else None


def call(walk: Walk, name: str, arguments: Arguments) -> Value | None:
    """Give what a function that seeds or draws gives; None for any other function."""
    node = arguments.node
    last = name.rpartition(".")[2]
    if name in SEEDS:
        _seed(walk, SEEDS[name], arguments)
        return UNKNOWN
    if name in MAKERS:
        return _generator(walk, arguments)
    if name.startswith("numpy.random."):
        return tensor(_sized(walk, arguments, walk.stream("numpy", node)))
    if name.startswith("random."):
        return tensor(_drawn(walk, arguments, walk.stream("random", node)))
    if name == "torch.utils.data.random_split":
        generator = arguments.get(2, "generator")
        return Value(generator.spread if generator else walk.stream("torch", node), items=None)
    if name.startswith("sklearn.") and last in SPLITS:
        seed = arguments.get(-1, "random_state")
        still = arguments.literal(-1, "shuffle") is False or (
            last.endswith("KFold") and arguments.get(-1, "shuffle") is None
        )
        spread = seed.spread if seed else ALIKE if still else walk.stream("numpy", node)
        return tensor(ALIKE if spread.kind is Kind.ZERO else spread)
    if name.startswith("torch.") and name.count(".") == 1 and last in SIZED:
        if last == "arange" and any(walk.state.deep_spread(value).kind is Kind.COUNT for value in arguments.values):
            return _positions(walk, arguments)
        if last == "randperm" and any(walk.state.deep_spread(value).kind is Kind.COUNT for value in arguments.values):
            return _shuffled(walk, arguments)
        return written.noted(walk, tensor(_torch(walk, last, arguments)), node)
    if name.startswith("torch.cuda.") and last in ("FloatTensor", "LongTensor", "DoubleTensor"):
        return written.noted(walk, tensor(_torch(walk, "Tensor", arguments)), node)
    if name.startswith("torch.") and last in (
        "rand_like",
        "randn_like",
        "randint_like",
        "bernoulli",
        "normal",
        "multinomial",
    ):
        walk.facts.noise[node, walk.context] = walk.place
        content = [walk.state.deep_spread(value) for value in arguments.all]
        entries = next((one for one in content if one.local), None)
        return tensor(entries if entries is not None else walk.stream("torch", node))
    return None


def _torch(walk: Walk, name: str, arguments: Arguments) -> Spread:
    """Give the spread of a tensor that is made in given sizes."""
    node = arguments.node
    generator = arguments.get(-1, "generator")
    content = ALIKE
    if name.startswith("rand"):
        content = generator.spread if generator else walk.stream("torch", node)
        if not generator or not generator.spread.alike:
            walk.facts.noise[node, walk.context] = walk.place
    elif name == "zeros":
        content = ZERO
    elif name in ("full", "Tensor", "FloatTensor", "LongTensor"):
        fill = arguments.get(1, "fill_value")
        content = walk.state.deep_spread(fill) if name == "full" and fill else _content(walk, arguments)
        if name != "full" and not content.alike:
            return content
    sizes = arguments.values[2:] if name == "randint" and len(arguments.values) > 2 else arguments.values
    size = arguments.get(-1, "size")
    if name == "randint" and size is None:
        sizes = arguments.values[-1:]
    if name in ("full",) and arguments.values:
        sizes = arguments.values[:1]
    spread = shapes.made(walk, sizes if size is None else (size,), node, content, uniform=name in UNIFORM)
    listed = any(value.items is not None or value.only(Box) for value in arguments.values[:1])
    if (full := spread.unsliced) is not None and (name in _SQUARE or (name in _GIVEN and listed)):
        # Both axes of a square are as long as the batch, and what is given in a list is no size.
        return Spread(Kind.MIXED, why=full.why)
    return spread


def _positions(walk: Walk, arguments: Arguments) -> Value:
    """Give the places of a slice's samples, which are not those of the batch's."""
    parts = tuple(walk.state.deep_spread(value) for value in arguments.values)
    message = "places within a worker's slice are used as if they were places in the batch"
    return Value(mixed("HR305", message, arguments.node, *parts), frozenset({Positions()}), number=True)


def _shuffled(walk: Walk, arguments: Arguments) -> Value:
    """Give the places of a slice's samples in another order: the partners of each are among the batch's."""
    walk.facts.noise[arguments.node, walk.context] = walk.place
    parts = tuple(walk.state.deep_spread(value) for value in arguments.values)
    message = "the samples of the batch are shuffled among themselves"
    return Value(mixed("HR305", message, arguments.node, *parts), frozenset({Shuffled()}), number=True)


def _content(walk: Walk, arguments: Arguments) -> Spread:
    """Give the spread of what a tensor is filled with, where it is given data and not a size."""
    for value in arguments.values:
        spread = walk.state.deep_spread(value)
        if spread.kind in (*ENTRIES, Kind.OWN, Kind.MIXED):
            return spread
    return ALIKE


def _sized(walk: Walk, arguments: Arguments, content: Spread) -> Spread:
    """Give the spread of numbers drawn by numpy, in the size asked for."""
    sizes = arguments.get(2, "size")
    if any(walk.state.deep_spread(value).local or value.sized for value in arguments.all):
        walk.facts.noise[arguments.node, walk.context] = walk.place
        given = (sizes,) if sizes is not None else arguments.values
        return shapes.made(walk, given, arguments.node, content)
    return _drawn(walk, arguments, content)


def _drawn(walk: Walk, arguments: Arguments, content: Spread) -> Spread:
    """Give the spread of numbers drawn, and let what is shuffled in place spread as they do."""
    node = arguments.node
    if not content.alike and arguments.pairs and getattr(node.func, "attr", "") == "shuffle":
        target, value = arguments.pairs[0]
        walk.assign(target, access.tinted(value, content))
        for thing in value.things:
            if isinstance(thing, Box):
                # What else holds the list holds the same one.
                walk.state.add(thing, ANY, Value(content))
    return content


def _seed(walk: Walk, streams: tuple[str, ...], arguments: Arguments) -> None:
    """Seed streams: alike on all workers where the seed is."""
    spread = walk.state.deep_spread(arguments.values[0]) if arguments.values else ALIKE
    if not walk.control.alike:
        spread = walk.control
    if spread.alike:
        walk.facts.seeded.append(arguments.node)
    elif spread.kind is Kind.OWN:
        spread = own("HR503", "random numbers are drawn from each worker's own seed", arguments.node)
    for stream in streams:
        walk.state.set(RANDOM, stream, Value(ALIKE if spread.alike else spread))


def _generator(walk: Walk, arguments: Arguments) -> Value:
    """Give a generator, seeded alike where its seed is."""
    generator = of(Generator(arguments.node, walk.context))
    if not arguments.values:
        return Value(own("HR502", "random numbers are drawn without a seed", arguments.node), generator.things)
    return generator
