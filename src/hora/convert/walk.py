"""One walk through a script, without running it: what is in reach, under which decisions, and what was seen.

A walk takes statements in order, both ways of each branch, and loops until nothing changes any more
(:mod:`hora.convert.statements`). Each call of a function of the file is followed with its own arguments, so one
function that serves two loaders is seen twice.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from hora.convert import access, assumptions, expressions, fields, networks, padding, samples, statements
from hora.convert.arguments import literal
from hora.convert.facts import Backward, Call, Draw, Escape, Event, Facts, Place
from hora.convert.memory import State
from hora.convert.modules import Modules
from hora.convert.recall import Recalled
from hora.convert.source import Source
from hora.convert.spread import ALIKE, NOWHERE, Full, Kind, Spread, own
from hora.convert.values import (
    RANDOM,
    UNKNOWN,
    Batch,
    Class,
    Constant,
    Context,
    Frame,
    Function,
    Loader,
    Method,
    Package,
    Scaler,
    Start,
    Thing,
    Value,
    plain,
)
from hora.convert.work import TooLargeError, Work

STREAMS = ("torch", "numpy", "random")


@dataclass
class Exits:
    """Where the ways through a loop or function leave it, and what a generator hands out."""

    breaks: list[State] = field(default_factory=list)
    continues: list[State] = field(default_factory=list)
    returns: list[tuple[Value, State]] = field(default_factory=list)
    yields: list[Value] = field(default_factory=list)
    drawn: frozenset[Loader] = frozenset()


class Walk:
    """One walk through a script.

    Parameters
    ----------
    source
        The script.
    sized
        The expressions that read a batch size that some loader was given.
    whole
        The loaders that every worker walks in full: what comes from them is each worker's own.
    optimizers
        Where objects are made that are used as optimizers, whatever library makes them.
    sizes
        The numbers that loaders are given as their batch size.
    edited
        What has been made of the script's own modules, by their paths.
    work
        Where it is counted how much is followed.
    """

    def __init__(
        self,
        source: Source,
        sized: frozenset[ast.AST] = frozenset(),
        whole: Container[object] = (),
        optimizers: frozenset[ast.AST] = frozenset(),
        sizes: frozenset[int] = frozenset(),
        edited: Mapping[Path, Source] | None = None,
        work: Work | None = None,
    ) -> None:
        self.work = work or Work()
        self.work.by.clear()
        self.tree = tree = source.tree
        self.modules = Modules(source, edited or {})
        self.files: dict[Frame, Path] = {Frame(tree, ()): source.path}
        self.sized = sized
        self.whole = whole
        self.optimizers = optimizers
        self.sizes = sizes
        self.settings: frozenset[frozenset[Thing]] = frozenset()
        self.facts = Facts()
        self.module = Frame(tree, ())
        self.state = State()
        self.frame = self.module
        self.outer = self.facts.outer
        self.running: list[ast.AST] = []
        self.context: Context = ()
        self.control: Spread = ALIKE
        self.sampling: samples.Sampling | None = None
        self.entered: Spread = ALIKE
        self.alone = False
        self.assumed: frozenset[assumptions.Fact] = frozenset()
        self.choices: dict[str, tuple[ast.Call, frozenset[Constant] | None]] = {}
        self.loops: tuple[tuple[ast.AST, Context], ...] = ()
        self.exits = Exits()
        self.imported: dict[Frame, dict[Thing, dict[str, Value]]] = {}
        self.commands: dict[Thing, list[Function]] = {}
        self.recalled: dict[tuple[Function, Context], Recalled] = {}
        self.stars: list[str] = []
        self.last: dict[ast.expr, Value] = {}
        for stream in STREAMS:
            self.state.set(RANDOM, stream, Value(own("HR502", "random numbers are drawn without a seed", tree)))

    def run(self) -> Facts:
        """Follow the script from its first line and give what was seen."""
        statements.block(self, self.tree.body)
        self.facts.files = {source.tree: source for source in self.modules.sources.values()}
        self.facts.unread = frozenset(self.modules.unread)
        return self.facts

    @property
    def place(self) -> Place:
        """Where the walk is now."""
        return Place(self.context, self.frame, self.loops, self.control, self.alone)

    def step(self, statement: ast.stmt) -> None:
        """Come to a statement."""
        self.facts.reach(statement, self.place)

    def value(self, node: ast.expr) -> Value:
        """Give the value of an expression and note it."""
        if not self.work.spend(self.frame.node):
            raise self._too_large()
        value = expressions.evaluate(self, node)
        if (node in self.sized or (value.setting and value.things in self.settings)) and value.spread.alike:
            value = replace(value, sized=True)
        if value.spread.kind is Kind.EACH and self.sampling is None:
            value = samples.astray(value, node)
        self.facts.see(node, self.context, value)
        self.last[node] = value
        return value

    def _too_large(self) -> TooLargeError:
        """Refuse the script at the function that took most of this walk."""
        function, _ = self.work.by.most_common(1)[0]
        source = next(source for source in self.modules.sources.values() if function in source.nodes)
        return self.work.refusal(source, function)

    @property
    def ignores(self) -> bool:
        """Whether some file writes -100, the target that cross_entropy() and nll_loss() leave out unasked."""
        return any(networks.writes_ignored(source.tree) for source in self.modules.sources.values())

    # Names

    def assign(self, target: ast.expr, value: Value, origin: ast.expr | None = None) -> None:
        """Bind a target to the value of ``origin``; what a worker's own decision binds is its own too."""
        if not self.control.alike and not (isinstance(target, ast.Name) and self.keeps_to_itself(target.id)):
            value = samples.coloured(value, self.control)
        if isinstance(target, ast.Name):
            self.bind(target.id, value)
        elif isinstance(target, ast.Starred):
            self.assign(target.value, replace(value, items=None))
        elif isinstance(target, ast.Tuple | ast.List):
            for index, element in enumerate(target.elts):
                self.assign(element, access.item(self, value, index, len(target.elts), target))
        elif isinstance(target, ast.Attribute):
            access.store_attribute(self, target, value, origin)
        elif isinstance(target, ast.Subscript):
            access.store_item(self, target, value, origin)

    def keeps_to_itself(self, name: str = "") -> bool:
        """Whether worker 0 alone is in a function that it alone has called: its variables are no other worker's."""
        return self.alone and self.control == self.entered and (not name or self._home(name) == self.frame)

    def bind(self, name: str, value: Value) -> None:
        """Bind a name where the walk is now."""
        owner = self._home(name)
        self.state.set(owner, name, value)
        self.facts.bind(owner, name, value)

    def lookup(self, name: str) -> Value | None:
        """Give what a name stands for where the walk is now."""
        for frame in self._scopes():
            value = self.state.get(frame, name)
            if value is not None:
                return value
        return None

    @property
    def here(self) -> Frame:
        """The frame of the module that the walk is in."""
        frame = self.frame
        while frame in self.outer:
            frame = self.outer[frame]
        return frame

    def is_represented(self, cls: Class) -> bool:
        """Whether a class is not followed again, as another that does the same is."""
        if not self.work.represented:
            return False
        frame = cls.frame
        while frame in self.outer:
            frame = self.outer[frame]
        return (self.files.get(frame), cls.node.name) in self.work.represented

    def load(self, name: str, level: int) -> Package | None:
        """Follow a module of the script's own, once; None where it is not one."""
        self.state.trace.lose()
        source = self.modules.find(name, level, self.files[self.here])
        if source is None or source.tree is self.tree:
            return None
        frame = Frame(source.tree, ())
        if frame in self.files:
            # What a module holds is there for all, also where the branch that imported it first is not taken.
            self.state.add_missing(self.imported.get(frame, {}))
        else:
            self.files[frame] = source.path
            before = set(self.state.cells)
            held = self.loops, self.exits
            self.loops, self.exits = (), Exits()
            with self.inside(frame, (), None):
                statements.block(self, source.tree.body)
            self.loops, self.exits = held
            self.imported[frame] = {owner: self.state.held(owner) for owner in self.state.cells.keys() - before}
        return Package(frame, source.path)

    def _scopes(self) -> Iterator[Frame]:
        """Give the frames that a name is looked for in, innermost first."""
        frame: Frame | None = self.frame
        while frame is not None:
            if frame is self.frame or not isinstance(frame.node, ast.ClassDef):
                yield frame
            frame = self.outer.get(frame)

    def _home(self, name: str) -> Frame:
        """Give the frame that a name is bound in."""
        if isinstance(self.frame.node, ast.FunctionDef | ast.AsyncFunctionDef):
            module_wide, enclosing = _declared(self.frame.node)
            if name in module_wide:
                return self.here
            if name in enclosing:
                for frame in self._scopes():
                    if frame != self.frame and self.state.get(frame, name) is not None:
                        return frame
        return self.frame

    # Where the walk goes

    @contextmanager
    def inside(self, frame: Frame, context: Context, outer: Frame | None) -> Iterator[None]:
        """Go on inside another frame, whose names are next looked for in ``outer``."""
        held = self.frame, self.context
        if outer is not None:
            self.outer[frame] = outer
        self.frame, self.context = frame, context
        try:
            yield
        finally:
            self.frame, self.context = held

    @contextmanager
    def decided(self, spread: Spread, zero: bool = False) -> Iterator[None]:
        """Go on under a decision; ``zero`` when it lets worker 0 alone through."""
        held = self.control, self.alone
        if spread.kind is Kind.EACH and self.sampling is not None and self.control.kind is Kind.EACH:
            samples.part(self, self.sampling)
        elif not spread.alike and (self.control.alike or self.control.kind is Kind.EACH):
            self.control = own("HR403", f"it hangs on what is {spread.kind.value}", self.tree)
            if spread.why:
                self.control = replace(self.control, why=spread.why)
        self.alone = self.alone or zero
        try:
            yield
        finally:
            self.control, self.alone = held

    @contextmanager
    def assuming(self, known: frozenset[assumptions.Fact]) -> Iterator[None]:
        """Go on where this is known of settings."""
        held = self.assumed
        self.assumed = held | known
        try:
            yield
        finally:
            self.assumed = held

    # What is noted

    def judge(self, node: ast.AST, test: ast.expr, value: Value) -> None:
        """Note a decision that hangs on the worker's own slice."""
        if value.spread.local and not value.spread.kind is self.control.kind is Kind.EACH:
            self.escape(node, ((test, value),), "decides what happens next", decides=True)

    def escape(
        self, node: ast.AST, parts: tuple[tuple[ast.expr, Value], ...], use: str, *, decides: bool = False
    ) -> None:
        """Note that a value of the worker's slice goes where only the global one is right."""
        if parts:
            deep = tuple((part, replace(value, spread=self.state.deep_spread(value))) for part, value in parts)
            self.state.trace.note(
                self.facts.escapes, (node, self.context), Escape(node, deep, use, self.place, decides)
            )

    def happen(self, what: str, node: ast.AST) -> None:
        """Note something that all workers must do together, or that leaves where they are."""
        self.state.trace.note(self.facts.events, (node, self.context, what), Event(what, node, self.place))

    def alter(self, value: Value) -> None:
        """Note that entries are written into what is made as large as the batch, whatever other names it has."""
        self.facts.altered |= {one.why.node for one in value.spread.loaders if isinstance(one, Full)}

    def change(self, thing: Thing, how: str, node: ast.AST) -> None:
        """Note that a network's weights are loaded or drawn anew."""
        self.facts.changed.append((thing, how, node, self.context))

    def called(self, call: Call) -> None:
        """Note a call."""
        self.state.trace.note(self.facts.calls, (call.node, self.context), call)

    def backward(self, node: ast.Call, loss: ast.expr, value: Value) -> None:
        """Note a backward pass; of a scaled loss, the loss is what is scaled."""
        while isinstance(loss, ast.Call) and loss.args:
            scale = self.value(loss.func)
            if not any(isinstance(t, Method) and isinstance(t.receiver, Scaler) for t in scale.things):
                break
            loss = loss.args[0]
        self.happen("backward", node)
        self.state.trace.note(self.facts.backwards, (node, self.context), Backward(node, loss, value, self.place))

    def draw(self, node: ast.AST, loaders: frozenset[Loader]) -> None:
        """Note that the next batch is handed out."""
        if loaders:
            self.state.trace.note(self.facts.draws, (node, self.context), Draw(node, loaders, self.place))
            for loader in loaders:
                self.facts.hand_over(plain(loader), self.state)
            self.pass_batch(loaders)

    def pass_batch(self, loaders: frozenset[Loader]) -> None:
        """Turn what depends on these loaders' batch into what depends on an earlier one."""
        if loaders:
            self.state.pass_batch(frozenset(loaders))
            self.exits.drawn |= loaders
            for stream in STREAMS:
                why = own("HR503", "random numbers are drawn during the training, each worker its own", self.tree)
                self.state.set(RANDOM, stream, Value(why))

    # Loaders

    def batch(self, loader: Loader) -> Value:
        """Give a batch of a loader."""
        given = self.state.trace.look(self.facts.given, plain(loader))
        if loader in self.whole:
            spread = own("HR403", "each worker works it out for itself", loader.site)
        else:
            spread = Spread(Kind.ROWS, frozenset({loader}), padding.axis(given, self.facts.bindings))
        parts = fields.nested(given)
        return fields.made(parts, spread) if parts is not None else Value(spread, frozenset({Batch()}))

    def given_size(self, size: Value | None) -> None:
        """Note what a loader is given as its batch size: a setting, or a number, is one wherever it is read."""
        if size is not None and size.setting and size.things:
            self.settings |= {size.things}
        number = literal(size) if size is not None else None
        if isinstance(number, int) and number > 1:
            self.sizes |= {number}

    def loader_attribute(self, loader: Loader, name: str) -> Value:
        """Give an attribute of a loader."""
        if name == "weight" and loader.dealt:
            return Value(Spread(Kind.WEIGHT, frozenset({loader})), number=True)
        if name == "first" and loader.dealt:
            return Value(
                own("HR503", "it is where a worker's slice begins", NOWHERE), frozenset({Start()}), number=True
            )
        if name in ("total", "gather") and loader.dealt:
            return Value(things=frozenset({Method(loader, name)}))
        if name == "batch_size":
            return Value(sized=True, number=True)
        original = plain(loader)
        if name == "dataset" and isinstance(original, Loader):
            arguments = self.state.trace.look(self.facts.given, original)
            return (arguments.get(0, "dataset") if arguments is not None else None) or UNKNOWN
        return UNKNOWN

    def stream(self, name: str, node: ast.AST) -> Spread:
        """Give how numbers drawn from a stream of random numbers spread."""
        if self.sampling is not None and self.control.kind is Kind.EACH:
            # Noise for one sample: each worker draws that of its own.
            self.facts.noise[node, self.context] = self.place
            return replace(self.control, why=None)
        held = self.state.get(RANDOM, name)
        if held is None or held.spread.alike:
            return ALIKE
        return replace(held.spread, why=replace(held.spread.why, node=node)) if held.spread.why else held.spread


@lru_cache(maxsize=4096)
def _declared(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[frozenset[str], frozenset[str]]:
    """Give the names that a function declares global, and nonlocal."""
    module_wide: set[str] = set()
    enclosing: set[str] = set()
    for child in ast.walk(node):
        if isinstance(child, ast.Global):
            module_wide.update(child.names)
        elif isinstance(child, ast.Nonlocal):
            enclosing.update(child.names)
    return frozenset(module_wide), frozenset(enclosing)
