"""What following a script brought to light: calls, batches, backward passes, decisions, each with its place."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

from hora.convert.arguments import Arguments
from hora.convert.memory import State
from hora.convert.source import Source
from hora.convert.spread import ALIKE, Spread
from hora.convert.spread import join as join_spreads
from hora.convert.values import Context, Frame, Loader, Optimizer, Thing, Value, join, plain


@dataclass(frozen=True)
class Place:
    """Where in the walk something happens.

    Attributes
    ----------
    context
        The calls that led there, outermost first.
    frame
        The variables in reach.
    loops
        The loops being run, of whatever function, outermost first, each with the context that it runs in.
    control
        How the decisions that led there spread over the workers.
    alone
        Whether worker 0 alone comes there.
    """

    context: Context
    frame: Frame
    loops: tuple[tuple[ast.AST, Context], ...] = ()
    control: Spread = ALIKE
    alone: bool = False


@dataclass(frozen=True)
class Call:
    """A call that the script makes."""

    node: ast.Call
    place: Place
    function: Value
    args: tuple[Value, ...]
    keywords: tuple[tuple[str | None, Value], ...]
    result: Value


@dataclass(frozen=True)
class Backward:
    """A backward pass: the call, the expression that is the loss, and its value."""

    node: ast.Call
    loss: ast.expr
    value: Value
    place: Place


@dataclass(frozen=True)
class Draw:
    """Batches drawn from loaders, by a loop or by ``next()``."""

    node: ast.AST
    loaders: frozenset[Loader]
    place: Place


KEPT = "is kept in a list"
"""What is done with a number that a loop puts in a list."""

STORED = "is kept in the network"
"""What is done with a value that goes into a buffer or a parameter."""

SHOWN = "is shown in a picture"
"""What is done with samples that a loop has kept: the picture is of all of them where they can be gathered."""


@dataclass(frozen=True)
class Escape:
    """A value of the worker's slice, or its own, that goes where only the global one is right.

    Attributes
    ----------
    node
        The call, test or operation that it goes into.
    parts
        The expressions that carry it, with their values.
    use
        What is done with it, in words.
    decides
        Whether it decides what the training does next.
    """

    node: ast.AST
    parts: tuple[tuple[ast.expr, Value], ...]
    use: str
    place: Place
    decides: bool = False


@dataclass(frozen=True)
class Event:
    """Something that all workers must do together, or that leaves a loop, function or script."""

    what: str
    node: ast.AST
    place: Place


@dataclass
class Facts:
    """Everything that was seen while following a script, filled as it goes."""

    calls: dict[tuple[ast.AST, Context], Call] = field(default_factory=dict)
    values: dict[ast.AST, dict[Context, Value]] = field(default_factory=dict)
    backwards: dict[tuple[ast.AST, Context], Backward] = field(default_factory=dict)
    draws: dict[tuple[ast.AST, Context], Draw] = field(default_factory=dict)
    escapes: dict[tuple[ast.AST, Context], Escape] = field(default_factory=dict)
    events: dict[tuple[ast.AST, Context, str], Event] = field(default_factory=dict)
    places: dict[ast.stmt, dict[Context, Place]] = field(default_factory=dict)
    files: dict[ast.AST, Source] = field(default_factory=dict)
    unread: frozenset[Path] = frozenset()
    outer: dict[Frame, Frame] = field(default_factory=dict)
    bindings: dict[Thing, dict[str, Value]] = field(default_factory=dict)
    made: dict[Thing, Place] = field(default_factory=dict)
    trained: dict[Thing, frozenset[Thing]] = field(default_factory=dict)
    given: dict[Loader, Arguments] = field(default_factory=dict)
    own: dict[Thing, Spread] = field(default_factory=dict)
    used: dict[Thing, list[Place]] = field(default_factory=dict)
    changed: list[tuple[Thing, str, ast.AST, Context]] = field(default_factory=list)
    noise: dict[tuple[ast.AST, Context], Place] = field(default_factory=dict)
    answers: dict[Thing, set[Value]] = field(default_factory=dict)
    partners: dict[tuple[ast.Subscript, Context], Place] = field(default_factory=dict)
    chosen: dict[ast.AST, tuple[str, ...]] = field(default_factory=dict)
    seeded: list[ast.AST] = field(default_factory=list)
    uniform: dict[tuple[ast.Subscript, Context], ast.AST] = field(default_factory=dict)
    altered: set[ast.AST] = field(default_factory=set)
    written: set[ast.AST] = field(default_factory=set)
    buffers: dict[Thing, set[str]] = field(default_factory=dict)

    def hand_over(self, loader: Loader, state: State) -> None:
        """Note what a loader's data and sampler hold that is not alike on all workers, as it is made or drawn from."""
        for value in self.given[loader].all if loader in self.given else ():
            spread = state.deep_spread(value)
            if not spread.alike:
                self.own[loader] = spread

    def reach(self, statement: ast.stmt, place: Place) -> None:
        """Note that a statement is reached."""
        seen = self.places.setdefault(statement, {})
        held = seen.get(place.context)
        if held is not None:
            control = join_spreads(held.control, place.control)
            place = Place(place.context, place.frame, place.loops, control, held.alone and place.alone)
        seen[place.context] = place

    def see(self, node: ast.AST, context: Context, value: Value) -> None:
        """Note the value of an expression."""
        seen = self.values.setdefault(node, {})
        seen[context] = join(seen[context], value) if context in seen else value

    def bind(self, owner: Thing, name: str, value: Value) -> None:
        """Note what a name or attribute was ever given."""
        names = self.bindings.setdefault(owner, {})
        names[name] = join(names[name], value) if name in names else value

    @property
    def loaders(self) -> list[Loader]:
        """The loaders that the script makes."""
        return [thing for thing in self.made if isinstance(thing, Loader)]

    def trained_by(self, optimizer: Optimizer) -> frozenset[Thing]:
        """Give the modules whose parameters an optimizer was given."""
        return self.trained.get(plain(optimizer), frozenset())
