"""A script as the rules see it: what trains what, what was drawn from where, and where statements stand."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from hora.convert.blocks import block_of
from hora.convert.edits import Edit
from hora.convert.facts import Backward, Call, Draw, Event, Facts, Place
from hora.convert.finding import Finding
from hora.convert.networks import is_module, writes_ignored
from hora.convert.runtime import NAME
from hora.convert.source import Source
from hora.convert.spread import Spread
from hora.convert.spread import join as join_spreads
from hora.convert.values import (
    Context,
    Loader,
    Method,
    Named,
    Optimizer,
    Thing,
    Value,
    ordered,
    plain,
)


@dataclass(frozen=True)
class Program:
    """A script and what following it brought to light.

    Attributes
    ----------
    source
        The script.
    facts
        What was seen on the way through it.
    whole
        Which evaluation loaders every worker walks in full, by the order of their calls in the script.
    asked_weak
        Whether it is to be converted for weak scaling.
    parting
        Whether workers that a seed has made alike may be given other seeds for what they drop of their samples.
    in_step
        Whether evaluation may be dealt as training is, so that every worker has as many batches of it.
    """

    source: Source
    facts: Facts = field(repr=False)
    whole: frozenset[int] = frozenset()
    asked_weak: bool = False
    parting: bool = True
    in_step: bool = False

    # The text

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """The node that each node is a part of, in all files."""
        return {child: node for source in self.sources for child, node in source.parents.items()}

    @cached_property
    def _own(self) -> frozenset[ast.AST]:
        """The nodes of the script itself."""
        return frozenset(self.source.nodes)

    def own(self, node: ast.AST) -> bool:
        """Whether a node is of the script itself, and not of a module that it imports."""
        return node in self._own

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The files: the script, then the modules of its own that it imports."""
        return (self.source, *(one for one in self.facts.files.values() if one is not self.source))

    def nodes(self) -> Iterator[ast.AST]:
        """Give every node of every file that the walk may come to."""
        return (node for source in self.sources for node in source.nodes if self.reached(node))

    def reached(self, node: ast.AST) -> bool:
        """Whether a node counts: any of the script, and of a module what the walk came to."""
        return self.own(node) or node in self.facts.values or node in self.facts.places

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name that the files use for anything."""
        return frozenset().union(*(names_in(source.tree) for source in self.sources))

    @cached_property
    def runtime(self) -> str:
        """The name that the files have, or will have, for the runtime."""
        given = (imported(source.tree) for source in self.sources)
        return next((name for name in given if name is not None), None) or self.fresh("hvd", "hora")

    def fresh(self, *candidates: str) -> str:
        """Give the first name that the files do not use yet."""
        numbered = (f"{candidates[0]}_{number}" for number in range(2, 1000))
        return next(name for name in (*candidates, *numbered) if name not in self.names)

    def statement(self, node: ast.AST) -> ast.stmt:
        """Give the statement that a node belongs to."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """Give the nodes that a node is a part of, innermost first."""
        here = self.parents.get(node)
        while here is not None:
            yield here
            here = self.parents.get(here)

    def scope(self, node: ast.AST) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Module:
        """Give the function whose body a node is in, or the module."""
        for here in self.ancestors(node):
            if isinstance(here, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Module):
                return here
        return self.source.tree

    def block(self, statement: ast.stmt) -> list[ast.stmt]:
        """Give the statements among which a statement stands."""
        return block_of(self.parents[statement], statement)

    def before(self, statement: ast.stmt) -> Iterator[list[ast.stmt]]:
        """Give what has run before a statement in the same turn of a loop: in its block, and in each that it is in."""
        here: ast.AST = statement
        while isinstance(here, ast.stmt) and not isinstance(here, ast.FunctionDef):
            block = self.block(here)
            yield block[: block.index(here)]
            if isinstance(here, ast.For | ast.While):
                return
            here = self.parents[here]

    # The walk

    @cached_property
    def all_calls(self) -> tuple[Call, ...]:
        """All calls, also those in modules beside the script, in the order in which they were first made."""
        return tuple(self.facts.calls.values())

    @cached_property
    def calls_by_node(self) -> dict[ast.AST, list[Call]]:
        """All calls by where they stand."""
        found: dict[ast.AST, list[Call]] = {}
        for call in self.all_calls:
            found.setdefault(call.node, []).append(call)
        return found

    def calls_of(self, *names: str) -> Iterator[Call]:
        """Give the calls of functions of the library, by their full names."""
        wanted = {Named(name) for name in names}
        return (call for call in self.all_calls if call.function.things & wanted)

    @cached_property
    def backwards(self) -> tuple[Backward, ...]:
        """All backward passes."""
        return tuple(self.facts.backwards.values())

    @cached_property
    def ways_back(self) -> tuple[list[Backward], ...]:
        """The backward passes by their calls: each with the ways that lead to it."""
        found: dict[ast.Call, list[Backward]] = {}
        for backward in self.backwards:
            found.setdefault(backward.node, []).append(backward)
        return tuple(found.values())

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """Everything that all workers must do together, or that leaves a loop, function or script."""
        return tuple(self.facts.events.values())

    def values(self, node: ast.AST) -> tuple[Value, ...]:
        """Give an expression's values, one for each way that leads there."""
        return tuple(self.facts.values.get(node, {}).values())

    def value(self, node: ast.AST, context: Context) -> Value | None:
        """Give an expression's value on one way."""
        return self.facts.values.get(node, {}).get(context)

    def deep(self, value: Value) -> Spread:
        """Give the spread of a value together with that of its parts."""
        spread = value.spread
        for item in value.items or ():
            spread = join_spreads(spread, self.deep(item))
        return spread

    def places(self, statement: ast.stmt) -> tuple[Place, ...]:
        """Give the ways that lead to a statement."""
        return tuple(self.facts.places.get(statement, {}).values())

    @cached_property
    def ignores(self) -> bool:
        """Whether some file writes -100, the target that cross_entropy() and nll_loss() leave out unasked."""
        return any(writes_ignored(source.tree) for source in (self.source, *self.facts.files.values()))

    # Loaders, optimizers and networks

    @cached_property
    def training_loaders(self) -> frozenset[Loader]:
        """The loaders whose batches lead to a backward pass, as they were made."""
        found = (one for back in self.backwards for one in back.value.spread.loaders if isinstance(one, Loader))
        return frozenset(map(plain, found))

    @cached_property
    def training_loops(self) -> frozenset[tuple[ast.AST, Context]]:
        """The innermost loops that backward passes are made in, each with the calls that led there."""
        return frozenset(loop for one in self.backwards for loop in one.place.loops[-1:])

    @cached_property
    def training_draws(self) -> tuple[Draw, ...]:
        """Where loops draw batches that lead to a backward pass."""
        return tuple(
            draw
            for draw in self.facts.draws.values()
            if draw.place.loops and any(plain(one) in self.training_loaders for one in draw.loaders)
        )

    @cached_property
    def dealt(self) -> frozenset[Thing]:
        """The loaders that are dealt in the script as it stands."""
        return frozenset(
            plain(thing)
            for call in self.calls_of(f"{NAME}.deal")
            for thing in call.result.things
            if isinstance(thing, Loader)
        )

    @cached_property
    def weak(self) -> bool:
        """Whether each worker has a batch of the script's size, and the global batch is as many times as large."""
        return self.asked_weak or any(
            one.arg == "scaling" and isinstance(one.value, ast.Constant) and one.value.value == "weak"
            for call in self.calls_of(f"{NAME}.deal")
            for one in call.node.keywords
        )

    def number(self, loader: Loader) -> int:
        """Give the place of a loader's call among the script's loader calls, which edits do not change."""
        sites = {self._place_of(one.site) for one in self.facts.loaders}
        return sorted(sites).index(self._place_of(loader.site))

    def _place_of(self, node: ast.AST) -> tuple[bool, str, int, int]:
        """Give where a node stands, those of the script first."""
        own = self.own(node)
        file = "" if own else str(self.home(node).path)
        return not own, file, getattr(node, "lineno", 0), getattr(node, "col_offset", 0)

    @cached_property
    def stepping(self) -> tuple[Optimizer, ...]:
        """The optimizers whose step is taken somewhere, by themselves or through a scaler."""
        found: dict[Optimizer, None] = {}
        for call in self.all_calls:
            if isinstance(call.node.func, ast.Attribute) and call.node.func.attr == "step":
                for thing in ordered(call.function.things):
                    if isinstance(thing, Method) and isinstance(thing.receiver, Optimizer):
                        found[thing.receiver] = None
                for value in call.args:
                    found |= dict.fromkeys(thing for thing in value.things if isinstance(thing, Optimizer))
        return tuple(found)

    def root(self, module: Thing) -> Thing:
        """Give the network that a layer is a part of, or the layer itself."""
        seen = {module}
        while (owner := self._owners.get(module)) is not None and owner not in seen:
            module = owner
            seen.add(module)
        return module

    @cached_property
    def _owners(self) -> dict[Thing, Thing]:
        """The network that each layer is a part of."""
        return {
            thing: owner
            for owner, names in self.facts.bindings.items()
            if is_module(owner)
            for value in names.values()
            for thing in value.things
            if thing != owner
        }

    def order(self, node: ast.AST, context: Context) -> int:
        """Give when a call was first made, as its place among all calls; -1 for one that never was."""
        return self._orders.get((node, context), -1)

    @cached_property
    def _orders(self) -> dict[tuple[ast.AST, Context], int]:
        """When each call was first made."""
        return {key: place for place, key in enumerate(self.facts.calls)}

    def before_start(self, call: Call) -> bool:
        """Whether a call is made before the runtime is initialised."""
        return self.order(call.node, call.place.context) < self._start

    @cached_property
    def _start(self) -> int:
        """When the runtime is initialised, as its place among all calls; -1 while it never is."""
        return min((self.order(one.node, one.place.context) for one in self.calls_of(f"{NAME}.init")), default=-1)

    def finding(self, code: str, node: ast.AST, message: str, edits: Iterable[Edit] | None) -> Finding:
        """Make a finding at a node."""
        source = self.home(node)
        line, column = getattr(node, "lineno", 1), 0
        if hasattr(node, "lineno"):
            column = source.offset(line, getattr(node, "col_offset", 0)) - source.starts[line - 1]
        return Finding(code, str(source.path), line, column + 1, message, None if edits is None else tuple(edits))

    def home(self, node: ast.AST) -> Source:
        """Give the file that a node is of."""
        if self.own(node):
            return self.source
        tree = next((one for one in (node, *self.ancestors(node)) if isinstance(one, ast.Module)), None)
        return self.facts.files.get(tree, self.source) if tree is not None else self.source


def imported(tree: ast.Module) -> str | None:
    """Give the name under which a file has imported the runtime."""
    return next((name for node in ast.walk(tree) if (name := runtime_name(node)) is not None), None)


def runtime_name(node: ast.AST) -> str | None:
    """Give the name that an import gives the runtime; None for what does not import it."""
    if isinstance(node, ast.Import):
        wanted = NAME
    elif isinstance(node, ast.ImportFrom) and node.module == "hora":
        wanted = "torch"
    else:
        return None
    return next((alias.asname or alias.name for alias in node.names if alias.name == wanted), None)


@lru_cache(maxsize=256)
def set_in(node: ast.AST) -> frozenset[str]:
    """Give the names that are set, or taken away, within a node."""
    nodes = ast.walk(node)
    return frozenset(one.id for one in nodes if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load))


@lru_cache(maxsize=256)
def names_in(tree: ast.Module) -> frozenset[str]:
    """Give every name that a file uses for anything."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name.split(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
    return frozenset(found)
