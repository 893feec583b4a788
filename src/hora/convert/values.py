"""What a name may stand for: things (models, loaders, optimizers, functions…) and how values spread over workers."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, TypeVar

from hora.convert.interning import Interned
from hora.convert.spread import ALIKE, Spread
from hora.convert.spread import join as join_spreads

Context: TypeAlias = tuple[ast.AST, ...]
"""The calls that led here, outermost first."""


@dataclass(frozen=True, eq=False)
class Thing(metaclass=Interned):
    """Something that a name may stand for; equal things are the same object of the running script."""


@dataclass(frozen=True, eq=False)
class Named(Thing):
    """A name of a library or of Python, such as ``torch.nn.functional``."""

    name: str


@dataclass(frozen=True, eq=False)
class Constant(Thing):
    """A literal number, string, truth value or None."""

    value: str | bytes | int | float | complex | bool | None
    type: str


@dataclass(frozen=True, eq=False)
class Frame(Thing):
    """The variables of one call of a function, of a class body or of the module."""

    node: ast.AST
    context: Context


@dataclass(frozen=True, eq=False)
class Package(Thing):
    """A module of the script's own, with the frame of its variables."""

    frame: Frame
    path: Path


@dataclass(frozen=True, eq=False)
class Function(Thing):
    """A function of the file, bound to an object where it is a method taken from one."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    frame: Frame
    bound: Thing | None = None
    owner: ast.ClassDef | None = None


@dataclass(frozen=True, eq=False)
class Class(Thing):
    """A class of the file; ``bases`` are the library's classes that it derives from, however far up."""

    node: ast.ClassDef
    frame: Frame
    bases: tuple[str, ...]
    parents: tuple[Class, ...]

    @property
    def lineage(self) -> tuple[Class, ...]:
        """The class and those of the file that it derives from, nearest first."""
        return (self, *(ancestor for parent in self.parents for ancestor in parent.lineage))


@dataclass(frozen=True, eq=False)
class Made(Thing):
    """An object made by a call: where, and by which calls it came there."""

    site: ast.AST
    context: Context


@dataclass(frozen=True, eq=False)
class Instance(Made):
    """An object of a class of the file."""

    cls: Class


@dataclass(frozen=True, eq=False)
class Module(Made):
    """A network or layer that a library makes; ``maker`` is the library's name for it."""

    maker: str


@dataclass(frozen=True, eq=False)
class Parallel(Thing):
    """What stands beside a network that DistributedDataParallel has wrapped."""


@dataclass(frozen=True, eq=False)
class Loader(Made):
    """A DataLoader; ``dealt`` is ``"training"`` or ``"evaluation"`` once ``deal()`` has taken it."""

    dealt: str = ""


@dataclass(frozen=True, eq=False)
class Optimizer(Made):
    """An optimizer; ``wrapped`` once DistributedOptimizer has taken it."""

    maker: str
    wrapped: bool = False


@dataclass(frozen=True, eq=False)
class Scheduler(Made):
    """A learning-rate scheduler of the library."""

    maker: str


@dataclass(frozen=True, eq=False)
class Scaler(Made):
    """A gradient scaler."""


@dataclass(frozen=True, eq=False)
class Generator(Made):
    """A generator of random numbers."""


@dataclass(frozen=True, eq=False)
class Box(Made):
    """A list, dict or set; what it holds is in its cells."""


@dataclass(frozen=True, eq=False)
class Output(Made):
    """Something that speaks to people or files: a logger, a summary writer, a progress bar, an open file."""

    maker: str


@dataclass(frozen=True, eq=False)
class Foreign(Made):
    """An object of a library about which nothing more is known; what the file stores on it is in its cells."""

    maker: str


@dataclass(frozen=True, eq=False)
class Super(Thing):
    """An object seen as its parents' classes, as ``super()`` gives it."""

    receiver: Thing
    owner: Class


@dataclass(frozen=True, eq=False)
class Criterion(Thing):
    """A loss of the library and how it reduces: mean, sum, none, or why that cannot be told."""

    maker: str
    reduction: str
    ragged: bool = False
    site: ast.Call | None = None


@dataclass(frozen=True, eq=False)
class Parameters(Thing):
    """The parameters of a module, or one of them."""

    module: Thing


@dataclass(frozen=True, eq=False)
class Weights(Thing):
    """The state dict of a module."""

    module: Thing


@dataclass(frozen=True, eq=False)
class Method(Thing):
    """A library's method, taken from a thing."""

    receiver: Thing
    name: str


@dataclass(frozen=True, eq=False)
class Batch(Thing):
    """A batch as its loader hands it out, whose fields are not told apart yet."""


@dataclass(frozen=True, eq=False)
class Rank(Thing):
    """The worker's rank."""


@dataclass(frozen=True, eq=False)
class WorkerZero(Thing):
    """The truth of being worker 0."""


@dataclass(frozen=True, eq=False)
class Positions(Thing):
    """The places of a slice's samples, counted from zero: right to pick entries by, wrong as values."""


@dataclass(frozen=True, eq=False)
class Place(Thing):
    """The place of one sample in its slice, in a loop over them: right to pick that sample by, wrong as a value."""


@dataclass(frozen=True, eq=False)
class Shuffled(Thing):
    """The places of a slice's samples in another order: each sample's partner, of the slice alone."""


@dataclass(frozen=True, eq=False)
class Packed(Thing):
    """A packed sequence: the entries of all samples laid end to end, which spread as its value does."""


@dataclass(frozen=True, eq=False)
class Distribution(Thing):
    """A distribution of torch.distributions, which spreads as its parameters do."""


@dataclass(frozen=True, eq=False)
class Start(Thing):
    """Where the worker's slice begins in the global batch."""


@dataclass(frozen=True, eq=False)
class Shape(Thing):
    """The shape of entries of samples; ``axis`` counts the samples, or is None when not known."""

    axis: int | None


@dataclass(frozen=True, eq=False)
class Written(metaclass=Interned):
    """The sizes of a tensor, written out as numbers, which may happen to be the batch size.

    Attributes
    ----------
    node
        The expression of the first.
    sizes
        The sizes, None for one that is not known.
    """

    node: ast.expr
    sizes: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Value(metaclass=Interned):
    """What an expression may give.

    Attributes
    ----------
    spread
        How it differs from worker to worker.
    things
        What it may be; empty for plain numbers, tensors and what is not known.
    items
        The elements of a tuple, where they are known one by one.
    number
        A number of Python, or a tensor cut from the graph: nothing can be trained through it.
    sized
        It comes from the batch size that a loader was given.
    world
        It has the number of workers as a factor.
    setting
        It is an option of the command line as it was given, on every way that leads here.
    written
        The sizes that a tensor was made in, where they are written out as numbers.
    rank
        How many axes a tensor has, where that is told: a convolution over pictures gives four.
    """

    spread: Spread = ALIKE
    things: frozenset[Thing] = frozenset()
    items: tuple[Value, ...] | None = None
    number: bool = False
    sized: bool = False
    world: bool = False
    setting: bool = False
    written: frozenset[Written] = frozenset()
    rank: int | None = None

    def only(self, kind: type[Thing]) -> bool:
        """Whether all that it may be is of one kind, and there is something."""
        return bool(self.things) and all(isinstance(thing, kind) for thing in self.things)


@dataclass(frozen=True, eq=False)
class Stream(Made):
    """Something to iterate over once: its elements, and the loaders that are drawn from.

    Where it ``iterates``, it is what ``iter()`` gives of a loader, which knows the weight of its batch as well.
    """

    element: Value = Value()
    loaders: frozenset[Loader] = frozenset()
    iterates: bool = False


@dataclass(frozen=True, eq=False)
class Partial(Made):
    """A callable with its first arguments, as ``functools.partial`` gives it: itself the first of ``given``."""

    given: tuple[Value, ...] = ()
    keywords: tuple[tuple[str | None, Value], ...] = ()


AnyThing = TypeVar("AnyThing", bound=Thing)

UNKNOWN = Value()
NUMBER = Value(number=True)
RANDOM = Named("random numbers")
"""The owner of the cells that say which streams of random numbers are alike on all workers."""


def of(*things: Thing) -> Value:
    """Give a value that is one of these things."""
    return Value(things=frozenset(things))


def tensor(spread: Spread, *, number: bool = False) -> Value:
    """Give a plain value of a spread."""
    return Value(spread=spread, number=number)


def join(left: Value, right: Value) -> Value:
    """Give the value that is one or the other."""
    if left == right:
        return left
    items = None
    if left.items is not None and right.items is not None and len(left.items) == len(right.items):
        items = tuple(join(one, other) for one, other in zip(left.items, right.items, strict=True))
    things = left.things | right.things
    # A number or tensor that nothing is known of may be any other than this constant.
    either_unknown = (not left.things and left.items is None) or (not right.things and right.items is None)
    if len(things) > 24 or either_unknown:
        things = frozenset(thing for thing in things if not isinstance(thing, Constant))
    return Value(
        spread=join_spreads(left.spread, right.spread),
        things=things,
        items=items,
        number=(left.number or left.spread.alike) and (right.number or right.spread.alike),
        sized=left.sized or right.sized,
        world=left.world or right.world,
        written=left.written | right.written,
        rank=left.rank if left.rank == right.rank else None,
    )


def ordered(things: Iterable[Thing]) -> list[Thing]:
    """Give things in an order that is the same in each run: by kind, and by where they are made."""
    return sorted(things, key=_order)


def _order(thing: Thing) -> tuple[str, int, int, str]:
    """Give the place of a thing among others."""
    inner = getattr(thing, "receiver", getattr(thing, "module", None))
    if isinstance(inner, Thing):
        return (type(thing).__name__, *_order(inner)[1:])
    site = getattr(thing, "site", getattr(thing, "node", None))
    label = str(getattr(thing, "name", getattr(thing, "value", "")))
    return type(thing).__name__, getattr(site, "lineno", 0), getattr(site, "col_offset", 0), label


def plain(thing: AnyThing) -> AnyThing:
    """Give a loader or optimizer as it was before it was dealt or wrapped."""
    if isinstance(thing, Loader):
        return replace(thing, dealt="")
    if isinstance(thing, Optimizer):
        return replace(thing, wrapped=False)
    return thing


def means(value: Value, thing: Thing) -> bool:
    """Whether a value stands for one thing and nothing else, dealt or wrapped or not."""
    return bool(value.things) and all(plain(one) == plain(thing) for one in value.things)
