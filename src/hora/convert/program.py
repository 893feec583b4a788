"""A script as the rules see it: what trains what, what was drawn from where, and where statements stand."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from hora.convert.edits import Edit
from hora.convert.facts import Backward, Call, Event, Facts, Place
from hora.convert.finding import Finding
from hora.convert.networks import is_module
from hora.convert.runtime import NAME
from hora.convert.source import Source
from hora.convert.spread import Spread
from hora.convert.spread import join as join_spreads
from hora.convert.values import (
    Context,
    Foreign,
    Frame,
    Instance,
    Loader,
    Made,
    Method,
    Named,
    Optimizer,
    Thing,
    Value,
    ordered,
    plain,
)
from hora.convert.walk import Walk


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
    """

    source: Source
    facts: Facts = field(repr=False)
    whole: frozenset[int] = frozenset()

    # The text

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """The node that each node is a part of, in the script and in the modules beside it."""
        trees = (self.source.tree, *self.facts.files)
        return {child: node for tree in trees for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}

    @cached_property
    def _own(self) -> frozenset[ast.AST]:
        """The nodes of the script itself."""
        return frozenset(ast.walk(self.source.tree))

    def own(self, node: ast.AST) -> bool:
        """Whether a node is of the script itself, and not of a module that it imports."""
        return node in self._own

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name that the script uses for anything."""
        found: set[str] = set()
        for node in ast.walk(self.source.tree):
            if isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.alias):
                found.add(node.asname or node.name.split(".")[0])
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
        return frozenset(found)

    @cached_property
    def imported(self) -> str | None:
        """The name under which the script has imported the runtime."""
        for node in ast.walk(self.source.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name == NAME:
                        return alias.asname or alias.name
            if isinstance(node, ast.ImportFrom) and node.module == "hora":
                for alias in node.names:
                    if alias.name == "torch":
                        return alias.asname or alias.name
        return None

    @cached_property
    def runtime(self) -> str:
        """The name that the script has, or will have, for the runtime."""
        return self.imported or self.fresh("hvd", "hora")

    def fresh(self, *candidates: str) -> str:
        """Give the first name that the script does not use yet."""
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
        parent = self.parents[statement]
        for name in ("body", "orelse", "finalbody"):
            block = getattr(parent, name, None)
            if isinstance(block, list) and statement in block:
                return block
        raise ValueError("the statement is not in this source")

    # The walk

    @cached_property
    def all_calls(self) -> tuple[Call, ...]:
        """All calls, also those in modules beside the script, in the order in which they were first made."""
        return tuple(self.facts.calls.values())

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """The calls in the script itself, in the order in which they were first made."""
        return tuple(call for call in self.all_calls if self.own(call.node))

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

    # Loaders, optimizers and networks

    @cached_property
    def training_loaders(self) -> frozenset[Loader]:
        """The loaders whose batches lead to a backward pass, as they were made."""
        found = (one for back in self.backwards for one in back.value.spread.loaders if isinstance(one, Loader))
        return frozenset(one for one in map(plain, found) if isinstance(one, Loader))

    @cached_property
    def dealt(self) -> frozenset[Thing]:
        """The loaders that are dealt in the script as it stands."""
        return frozenset(
            plain(thing)
            for call in self.calls_of(f"{NAME}.deal")
            for thing in call.result.things
            if isinstance(thing, Loader)
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

    def _in_reach(self, frame: Frame) -> dict[str, Value]:
        """Give the names that can be read in a frame, the nearest first, with all that they ever stood for."""
        reach = dict(self.facts.bindings.get(frame, {}))
        outer = self.facts.outer.get(frame)
        while outer is not None:
            if not isinstance(outer.node, ast.ClassDef):
                reach = {**reach, **{n: v for n, v in self.facts.bindings.get(outer, {}).items() if n not in reach}}
            outer = self.facts.outer.get(outer)
        return reach

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

    def cover(self, modules: frozenset[Thing], place: Place, near: ast.AST | None = None) -> list[str] | None:
        """Give expressions that together stand for these networks and nothing else; None where there are none."""
        found: list[str] = []
        left = set(modules)
        whole = self.expression(modules, place, near)
        if whole is not None:
            return [whole]
        for module in sorted(modules, key=self._made_at):
            if module in left:
                name = self.expression(frozenset({module}), place, near)
                if name is not None:
                    found.append(name)
                    left.discard(module)
        for name, value in self.facts.bindings.get(place.frame, {}).items():
            if left and value.things & left and value.things <= modules:
                found.append(name)
                left -= value.things
        return None if left else found

    def _made_at(self, thing: Thing) -> int:
        """Give when a thing was made."""
        return self.order(thing.site, thing.context) if isinstance(thing, Made) else -1

    def expression(self, things: frozenset[Thing], place: Place, near: ast.AST | None = None) -> str | None:
        """Give an expression that stands for these things and nothing else, dealt or wrapped or not.

        Parameters
        ----------
        things
            What is looked for.
        place
            Where it must be in reach.
        near
            A node in which an expression is looked for first.
        """
        wanted = frozenset(plain(thing) for thing in things)

        def fits(value: Value | None) -> bool:
            return value is not None and frozenset(plain(thing) for thing in value.things) == wanted

        for node in ast.walk(near) if near is not None else ():
            if isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Load):
                if fits(self.value(node, place.context)) and _repeatable(node):
                    return self.source.segment(node)
        reach = self._in_reach(place.frame)
        for name, value in reach.items():
            if fits(value):
                return name
        for name, value in reach.items():
            holder = next(iter(value.things)) if len(value.things) == 1 else None
            if isinstance(holder, Instance):
                for attribute, held in self.facts.bindings.get(holder, {}).items():
                    if fits(held) and attribute.isidentifier():
                        return f"{name}.{attribute}"
        return None

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


def follow(source: Source, whole: frozenset[int] = frozenset()) -> Program:
    """Follow a script: once to learn which loaders train, once more with the others walked in full where they are."""
    sized, sizes = _sized(source.tree)
    program = Program(source, Walk(source, sized, sizes=sizes).run(), whole)
    optimizers = frozenset(thing.site for thing in _used_as_optimizers(program))
    if optimizers:
        program = Program(source, Walk(source, sized, optimizers=optimizers, sizes=sizes).run(), whole)
    full = frozenset(program.facts.loaders) - program.training_loaders - program.dealt
    if full:
        program = Program(source, Walk(source, sized, frozenset(full), optimizers, sizes).run(), whole)
    return program


def _used_as_optimizers(program: Program) -> set[Foreign]:
    """Give the objects of other libraries that are stepped and whose gradients are set to zero."""
    used: dict[Foreign, set[str]] = {}
    for call in program.calls:
        for thing in ordered(call.function.things):
            if isinstance(thing, Method) and isinstance(thing.receiver, Foreign):
                used.setdefault(thing.receiver, set()).add(thing.name)
    return {thing for thing, names in used.items() if {"step", "zero_grad"} <= names}


def _sized(tree: ast.Module) -> tuple[frozenset[ast.AST], frozenset[int]]:
    """Give the expressions that read what some loader has as its batch size, and the numbers that some have."""
    texts: set[str] = set()
    numbers: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = [keyword.value for keyword in node.keywords if keyword.arg == "batch_size"]
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given += node.args[1:2] if name == "DataLoader" else []
            numbers |= {
                one.value for one in given if isinstance(one, ast.Constant) and type(one.value) is int and one.value > 1
            }
            texts |= {ast.unparse(one) for one in given if isinstance(one, ast.Name | ast.Attribute | ast.Subscript)}
    ends = {text.rpartition(".")[2] for text in texts}
    reads = frozenset(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript)
        and (isinstance(node, ast.Subscript) or getattr(node, "attr", getattr(node, "id", "")) in ends)
        and ast.unparse(node) in texts
    )
    return reads, frozenset(numbers)


def _repeatable(node: ast.expr) -> bool:
    """Whether reading an expression twice gives the same and costs nothing."""
    if isinstance(node, ast.Attribute):
        return _repeatable(node.value)
    if isinstance(node, ast.Subscript):
        return _repeatable(node.value) and isinstance(node.slice, ast.Name | ast.Constant | ast.Attribute)
    return isinstance(node, ast.Name)
