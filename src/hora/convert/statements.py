"""Follow statements: both ways of a branch, and loops until nothing changes any more."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hora.convert import access, assumptions, commands, expressions, samples
from hora.convert.arguments import literal
from hora.convert.memory import State, merge
from hora.convert.spread import ALIKE, Kind, Spread, mixed
from hora.convert.values import UNKNOWN, Class, Constant, Frame, Function, Loader, Named, WorkerZero, of, tensor

if TYPE_CHECKING:
    from hora.convert.walk import Walk

ROUNDS = 8
NONE = of(Constant(None, "NoneType"))


def block(walk: Walk, statements: Sequence[ast.stmt]) -> bool:
    """Follow statements in order; False when their end is never reached."""
    for statement in statements:
        walk.step(statement)
        handler = _HANDLERS.get(type(statement), _other)
        if handler(walk, statement) is False:
            return False
    return True


def _other(walk: Walk, node: ast.stmt) -> None:
    """Follow a statement that only has expressions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            walk.value(child)


def _through(walk: Walk, statements: Sequence[ast.stmt]) -> State | None:
    """Follow statements and give the state at their end, if it is reached."""
    return walk.state if block(walk, statements) else None


def _go_on(walk: Walk, *states: State | None) -> bool:
    """Go on from where several ways meet; False when none gets there."""
    merged = merge(states)
    if merged is not None:
        walk.state = merged
    return merged is not None


def _function(walk: Walk, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    """Follow a definition."""
    for default in (*node.args.defaults, *(value for value in node.args.kw_defaults if value)):
        walk.value(default)
    function = Function(node, walk.frame)
    for decorator in node.decorator_list:
        walk.value(decorator)
        commands.register(walk, decorator, function)
    walk.bind(node.name, of(function))


def _class(walk: Walk, node: ast.ClassDef) -> None:
    """Follow a class, body and all."""
    bases: list[str] = []
    parents: list[Class] = []
    for base in node.bases:
        found = walk.value(base).things
        for thing in found:
            if isinstance(thing, Class):
                parents.append(thing)
                bases += thing.bases
            elif isinstance(thing, Named):
                bases.append(thing.name)
        if not found:
            bases.append(ast.unparse(base))
    frame = Frame(node, walk.context)
    with walk.inside(frame, walk.context, walk.frame):
        block(walk, node.body)
    walk.bind(node.name, of(Class(node, frame, tuple(bases), tuple(parents))))


def _leave(what: str) -> Callable[[Walk, ast.stmt], bool]:
    """Make the handler of a statement that leaves."""

    def handler(walk: Walk, node: ast.stmt) -> bool:
        walk.happen(what, node)
        if isinstance(node, ast.Break):
            walk.exits.breaks.append(walk.state.copy())
        elif isinstance(node, ast.Continue):
            walk.exits.continues.append(walk.state.copy())
        elif isinstance(node, ast.Return):
            value = walk.value(node.value) if node.value else NONE
            value = samples.returned(walk, value)
            walk.exits.returns.append((value, walk.state.copy()))
        elif isinstance(node, ast.Raise) and node.exc:
            walk.value(node.exc)
        return False

    return handler


def _import(walk: Walk, node: ast.Import) -> None:
    """Follow an import of modules."""
    for alias in node.names:
        top = alias.name.split(".")[0]
        package = walk.load(alias.name, 0)
        if package is not None and not alias.asname:
            package = walk.load(top, 0)
        name = Named(alias.name if alias.asname else top)
        walk.bind(alias.asname or top, of(package if package is not None else name))


def _import_from(walk: Walk, node: ast.ImportFrom) -> None:
    """Follow an import from a module."""
    prefix = "." * node.level + (node.module or "")
    package = walk.load(node.module or "", node.level)
    for alias in node.names:
        if alias.name == "*" and package is not None:
            for name, value in list(walk.state.held(package.frame).items()):
                if not name.startswith("_"):
                    walk.bind(name, value)
        elif alias.name == "*":
            walk.stars.append(prefix)
        elif alias.name != "*":
            held = walk.state.get(package.frame, alias.name) if package is not None else None
            if held is None and package is not None:
                inner = walk.load(f"{node.module}.{alias.name}" if node.module else alias.name, node.level)
                held = of(inner) if inner is not None else None
            walk.bind(alias.asname or alias.name, held or of(Named(f"{prefix}.{alias.name}")))


def _assign(walk: Walk, node: ast.Assign) -> None:
    """Follow an assignment."""
    value = walk.value(node.value)
    for target in node.targets:
        walk.assign(target, value, node.value)


def _annotated(walk: Walk, node: ast.AnnAssign) -> None:
    """Follow an assignment with an annotation."""
    if node.value:
        walk.assign(node.target, walk.value(node.value))


def _augmented(walk: Walk, node: ast.AugAssign) -> None:
    """Follow an operation in place."""
    held = expressions.evaluate(walk, _as_load(node.target))
    added = walk.value(node.value)
    value = samples.added(walk, node.target, node.op, held, added)
    if value is None:
        value = expressions.operate(walk, node.op, held, added, node, (node.target, node.value))
    walk.facts.see(node, walk.context, value)
    walk.assign(node.target, value)


def _if(walk: Walk, node: ast.If) -> bool:
    """Follow both ways of a branch, or the one that is always taken."""
    test = walk.value(node.test)
    truth = expressions.outcome(walk, node.test, test)
    if node.orelse or not all(isinstance(one, ast.Raise) for one in node.body):
        # One worker that raises ends the job, as a failed assertion does.
        walk.judge(node, node.test, test)
    before = walk.state
    ends: list[State | None] = []
    zero = WorkerZero() in test.things
    ways = [(way, assumptions.taken(walk, node.test, way)) for way in (True, False)]
    for (way, known), branch in zip(ways, (node.body, node.orelse), strict=True):
        walk.state = before.copy()
        with walk.decided(test.spread, zero and way), walk.assuming(known):
            ends.append(_through(walk, branch) if truth in (way, None) else None)
    return _go_on(walk, *ends)


def _for(walk: Walk, node: ast.For | ast.AsyncFor) -> bool:
    """Follow a loop over something."""
    iterated = walk.value(node.iter)
    element, loaders = access.elements(walk, iterated, node.iter)
    sampling = samples.begin(walk, node, element)
    spread = iterated.spread if not iterated.spread.local else ALIKE
    if sampling is None and not loaders:
        spread = samples.turns(walk, iterated, element, node) or spread
    return _loop(walk, node, loaders, spread, lambda: walk.assign(node.target, element), sampling)


def _while(walk: Walk, node: ast.While) -> bool:
    """Follow a loop that a test ends."""
    spread = walk.value(node.test).spread
    return _loop(walk, node, frozenset(), spread, lambda: walk.judge(node, node.test, walk.value(node.test)))


def _loop(
    walk: Walk,
    node: ast.For | ast.AsyncFor | ast.While,
    loaders: frozenset[Loader],
    spread: Spread,
    begin: Callable[[], None],
    sampling: samples.Sampling | None = None,
) -> bool:
    """Follow a loop until nothing changes any more."""
    entry = before = walk.state
    held = walk.exits.breaks, walk.exits.continues, walk.loops
    ends: list[State | None] = []
    for _ in range(ROUNDS):
        walk.exits.breaks, walk.exits.continues = [], []
        walk.loops = (*held[2], (node, walk.context))
        walk.state = entry.copy()
        with walk.decided(spread), samples.within(walk, sampling):
            walk.draw(node, loaders)
            begin()
            ends = [_through(walk, node.body)]
        ends += walk.exits.continues
        after = merge([entry, *ends])
        if after is not None and sampling is not None:
            samples.age(sampling, after)
        if after is None or after.cells == entry.cells:
            break
        entry = after
    breaks = walk.exits.breaks
    walk.exits.breaks, walk.exits.continues, walk.loops = held
    # A loader hands out one batch at least: what was before the loop is not what is after it.
    ended = merge(ends) if loaders or sampling or _runs(walk, node) else entry
    if isinstance(node, ast.While) and expressions.truth(walk.value(node.test)) is True:
        ended = None
    for state in (ended, *breaks):
        if state is not None:
            _count_alone(state, before, loaders, node)
        if state is not None and sampling is not None:
            samples.settle(sampling, state, broken=bool(breaks))
    if ended is not None and node.orelse:
        walk.state = ended
        ended = _through(walk, node.orelse)
    return _go_on(walk, ended, *breaks)


def _runs(walk: Walk, node: ast.stmt) -> bool:
    """Whether a loop runs at least once: as often as a number or a setting says, or over what is written out."""
    if not isinstance(node, ast.For):
        return False
    if isinstance(node.iter, ast.List | ast.Tuple):
        return any(not isinstance(one, ast.Starred) for one in node.iter.elts)
    if not (isinstance(node.iter, ast.Call) and isinstance(node.iter.func, ast.Name) and len(node.iter.args) == 1):
        return False
    count = walk.state.trace.look(walk.last, node.iter.args[0]) if node.iter.func.id == "range" else None
    number = literal(count) if count is not None else None
    # A setting of none at all would be one for every batch.
    return count is not None and (count.setting or (isinstance(number, int) and number > 0))


def _count_alone(state: State, before: State, loaders: frozenset[Loader], node: ast.AST) -> None:
    """Note that a worker counts only the batches that it gets: in an evaluation that is dealt, it may get fewer."""
    if not any(loader.dealt == "evaluation" for loader in loaders):
        return
    for owner, names in list(state.cells.items()):
        if names is before.cells.get(owner):
            continue
        for name, value in list(names.items()):
            if value.number and value.spread.alike and before.get(owner, name) != value:
                message = "a worker may get fewer batches of an evaluation than there are, and count fewer"
                part = Spread(Kind.SUM, frozenset(loaders))
                state.set(owner, name, tensor(mixed("HR203", message, node, part), number=True))


def _with(walk: Walk, node: ast.With | ast.AsyncWith) -> bool:
    """Follow a block with its context managers."""
    for item in node.items:
        value = walk.value(item.context_expr)
        if item.optional_vars:
            walk.assign(item.optional_vars, value)
    return block(walk, node.body)


def _try(walk: Walk, node: ast.Try) -> bool:
    """Follow a block, and what happens when it breaks off anywhere."""
    before = walk.state.copy()
    through = block(walk, node.body)
    broken = merge([before, walk.state]) or before
    if through and node.orelse:
        through = block(walk, node.orelse)
    ends: list[State | None] = [walk.state if through else None]
    for handler in node.handlers:
        walk.state = broken.copy()
        if handler.type:
            walk.value(handler.type)
        if handler.name:
            walk.bind(handler.name, UNKNOWN)
        ends.append(_through(walk, handler.body))
    reached = _go_on(walk, *ends)
    if node.finalbody:
        if not reached:
            walk.state = broken
        reached = block(walk, node.finalbody) and reached
    return reached


def _match(walk: Walk, node: ast.Match) -> bool:
    """Follow every case."""
    subject = walk.value(node.subject)
    walk.judge(node, node.subject, subject)
    before = walk.state
    ends: list[State | None] = [before]
    for case in node.cases:
        walk.state = before.copy()
        for child in ast.walk(case.pattern):
            name = getattr(child, "name", None) or getattr(child, "rest", None)
            if isinstance(name, str):
                walk.bind(name, subject)
        if case.guard:
            walk.value(case.guard)
        with walk.decided(subject.spread):
            ends.append(_through(walk, case.body))
    return _go_on(walk, *ends)


def _delete(walk: Walk, node: ast.Delete) -> None:
    """Follow a deletion: what is deleted may still be seen elsewhere."""


def _as_load(target: ast.expr) -> ast.expr:
    """Give a target as the expression that reads it."""
    if isinstance(target, ast.Name):
        return ast.Name(target.id, ast.Load())
    if isinstance(target, ast.Attribute):
        return ast.Attribute(target.value, target.attr, ast.Load())
    if isinstance(target, ast.Subscript):
        return ast.Subscript(target.value, target.slice, ast.Load())
    return target


_HANDLERS: dict[type[ast.stmt], Callable[..., bool | None]] = {
    ast.FunctionDef: _function,
    ast.AsyncFunctionDef: _function,
    ast.ClassDef: _class,
    ast.Return: _leave("return"),
    ast.Raise: _leave("raise"),
    ast.Break: _leave("break"),
    ast.Continue: _leave("continue"),
    ast.Import: _import,
    ast.ImportFrom: _import_from,
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.AugAssign: _augmented,
    ast.If: _if,
    ast.For: _for,
    ast.AsyncFor: _for,
    ast.While: _while,
    ast.With: _with,
    ast.AsyncWith: _with,
    ast.Try: _try,
    ast.Match: _match,
    ast.Delete: _delete,
}
if hasattr(ast, "TryStar"):
    _HANDLERS[ast.TryStar] = _try
