"""What a worker's slice adds to a metric: which terms are weighed, what is reduced after a loop, what where it is read.

The three steps of :mod:`hora.convert.rules.hr601`, as plans of text; the rule makes findings of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from hora.convert.facts import Draw, Escape, Place
from hora.convert.program import Program
from hora.convert.spread import Kind, Spread
from hora.convert.values import Box, Context, Loader, Value, WorkerZero

_CURRENT = (Kind.MEAN, Kind.COUNT, Kind.SUM)
_THROUGH = frozenset(["item", "detach", "cpu", "numpy", "data", "float", "mean", "sum", "tolist", "clone"])
Accumulation = ast.Assign | ast.AugAssign


def loaders_of(spread: Spread) -> frozenset[Loader]:
    """Give the loaders that a value depends on."""
    return frozenset(loader for loader in spread.loaders if isinstance(loader, Loader))


def dealt(spread: Spread) -> bool:
    """Whether a value depends on batches that are dealt, and on no others."""
    loaders = loaders_of(spread)
    return bool(loaders) and all(loader.dealt for loader in loaders)


def for_evaluation(spread: Spread) -> bool:
    """Whether a value depends on batches that are dealt for evaluation, of which a worker may get none."""
    return any(loader.dealt == "evaluation" for loader in loaders_of(spread))


def inside_evaluation(program: Program, place: Place) -> bool:
    """Whether a place is inside a loop whose batches not every worker gets."""
    loops = {
        draw.place.loops[-1]
        for draw in program.facts.draws.values()
        if draw.place.loops and any(loader.dealt == "evaluation" for loader in draw.loaders)
    }
    return bool(loops & set(place.loops))


# Terms that are weighed where they are added


def unweighed(program: Program) -> Iterator[tuple[Accumulation, ast.expr, frozenset[Loader], Place]]:
    """Give the means that are added up over batches without their weights: the statement, the term, its loaders."""
    for statement, places in program.facts.places.items():
        if not isinstance(statement, Accumulation) or not program.own(statement):
            continue
        node = statement if isinstance(statement, ast.AugAssign) else statement.value
        for place in places.values():
            whole = program.value(node, place.context)
            if whole is None or whole.spread.kind is not Kind.MEANS or not dealt(whole.spread):
                continue
            for term in _terms(statement.value):
                value = program.value(term, place.context)
                if value is not None and value.spread.kind is Kind.MEAN:
                    yield statement, term, loaders_of(value.spread), place


def _terms(node: ast.expr) -> Iterator[ast.expr]:
    """Give what a sum is made of."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield from _terms(node.left)
        yield from _terms(node.right)
    elif isinstance(node, ast.IfExp):
        yield from _terms(node.body)
        yield from _terms(node.orelse)
    else:
        yield node


# What is reduced after the loop that adds it up


@dataclass(frozen=True)
class Total:
    """What a loop adds up: the loop after which it is reduced, its text, where it is added, and how it is reduced."""

    loop: ast.stmt
    text: str
    node: ast.AST
    additive: bool


def totals(program: Program) -> list[Total]:
    """Give what loops add up over slices and something reads after them."""
    found: dict[tuple[ast.stmt, str], Total] = {}
    for draw in program.facts.draws.values():
        loop = batch_loop(draw)
        if loop is None or not program.own(loop) or not draw.place.control.alike or draw.place.alone:
            continue
        if not all(loader.dealt for loader in draw.loaders):
            continue
        for node, text in _accumulated(loop):
            outer = _widest(program, loop, text)
            reads = [value for read in _reads_after(program, outer, text) for value in program.values(read)]
            kinds = [_how(value.spread) for value in reads if value.spread.local]
            if kinds and None not in kinds and len(set(kinds)) == 1 and all(value.spread.local for value in reads):
                found.setdefault((outer, text), Total(outer, text, node, bool(kinds[0])))
    return list(found.values())


def batch_loop(draw: Draw) -> ast.For | ast.While | None:
    """Give the loop whose rounds are the batches, where it stands in the function that draws them."""
    if draw.place.loops:
        loop, context = draw.place.loops[-1]
        if context == draw.place.context and isinstance(loop, ast.For | ast.While):
            return loop
    return None


def _accumulated(loop: ast.stmt) -> Iterator[tuple[ast.AST, str]]:
    """Give what a loop adds to: each target's text, in the order of the lines."""
    nodes = sorted((n for n in ast.walk(loop) if isinstance(n, Accumulation)), key=lambda node: node.lineno)
    for node in nodes:
        target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
        if isinstance(target, ast.Name | ast.Attribute | ast.Subscript):
            yield node, ast.unparse(target)


def _widest(program: Program, loop: ast.stmt, text: str) -> ast.stmt:
    """Give the outermost loop in which a total goes on growing: the one inside which it is set anew, or the last."""
    here = loop
    for outer in program.ancestors(loop):
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Module):
            break
        if isinstance(outer, ast.For | ast.While):
            if any(_sets(node, text) for node in ast.walk(outer) if isinstance(node, ast.Assign)):
                break
            here = outer
    return here


def _sets(node: ast.Assign, text: str) -> bool:
    """Whether an assignment sets a target anew, not from what it was."""
    targets = {ast.unparse(one) for target in node.targets for one in (target, *getattr(target, "elts", ()))}
    uses = {
        ast.unparse(one) for one in ast.walk(node.value) if isinstance(one, ast.Name | ast.Attribute | ast.Subscript)
    }
    return text in targets and text not in uses


def _reads_after(program: Program, loop: ast.stmt, text: str) -> list[ast.AST]:
    """Give the places after a loop that read a total."""
    attribute = not text.isidentifier()
    scope = program.source.tree if attribute else program.scope(loop)
    inside = set(ast.walk(loop))
    return [
        node
        for node in ast.walk(scope)
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript)
        and isinstance(node.ctx, ast.Load)
        and node not in inside
        and program.own(node)
        and (node.lineno > (loop.end_lineno or 0) or _shared_loop(program, loop, node) or attribute)
        and ast.unparse(node) == text
        and program.values(node)
    ]


def _shared_loop(program: Program, loop: ast.stmt, node: ast.AST) -> bool:
    """Whether a read before a loop comes after it in the next round of a loop around both."""
    return False


def _how(spread: Spread) -> bool | None:
    """Whether a value is added up over workers (True) or averaged (False); None where neither is right."""
    if not dealt(spread) or (for_evaluation(spread) and spread.kind in _CURRENT):
        return None
    if spread.additive:
        return True
    return False if spread.kind is Kind.SHARE else None


# What is reduced where it is read


@dataclass(frozen=True)
class Reading:
    """A value that is reduced where it is read.

    Attributes
    ----------
    node
        The expression that carries it.
    anchor
        The statement before which it is reduced.
    line
        What reduces it, with ``{name}`` for the name of the result.
    base
        What the result is named after.
    in_place
        Whether the result takes the place of what it was.
    """

    node: ast.expr
    anchor: ast.stmt
    line: str
    base: str
    in_place: bool


def readings(program: Program, escape: Escape) -> list[Reading] | None:
    """Give how the values that escape are reduced where they are read; None where that cannot be done."""
    spreads = [value.spread for _, value in escape.parts]
    if inside_evaluation(program, escape.place):
        return None
    for node, parts, context in _levels(program, escape, spreads):
        found = _reduced_at(program, node, parts, context)
        if found is not None:
            return found
    return None


def _levels(
    program: Program, escape: Escape, spreads: list[Spread]
) -> Iterator[tuple[ast.AST, list[ast.expr], Context]]:
    """Give where a value can be reduced on its way: in the function that draws the batches first, then further in."""
    context = escape.place.context
    loaders = frozenset().union(*(loaders_of(spread) for spread in spreads))
    drawn = [
        len(draw.place.context)
        for draw in program.facts.draws.values()
        if draw.loaders & loaders and context[: len(draw.place.context)] == draw.place.context
    ]
    for level in range(max(drawn, default=len(context)), len(context)):
        call = context[level]
        if isinstance(call, ast.Call):
            args = [*call.args, *(keyword.value for keyword in call.keywords)]
            yield call, [arg for arg in args if _local(program, arg, context[:level])], context[:level]
    boxes = [thing for _, value in escape.parts for thing in value.things if isinstance(thing, Box)]
    yield escape.node, [part for part, _ in escape.parts], context
    if len(boxes) == len(escape.parts) == 1 and isinstance(boxes[0].site, ast.Dict | ast.List):
        yield boxes[0].site, [boxes[0].site], boxes[0].context


def _local(program: Program, node: ast.expr, context: Context) -> bool:
    """Whether an expression depends on the worker's slice."""
    value = program.value(node, context)
    return value is not None and value.spread.local


def _reduced_at(program: Program, node: ast.AST, parts: list[ast.expr], context: Context) -> list[Reading] | None:
    """Give how expressions are reduced before the statement that they stand in."""
    if not program.own(node) or not parts:
        return None
    anchor = _anchor(program, program.statement(node))
    if anchor is None:
        return None
    if any(not place.control.alike or place.alone for place in program.places(anchor)):
        return None
    found: list[Reading] = []
    for part in parts:
        leaves = _leaves(program, part, context)
        if leaves is None:
            return None
        for leaf in leaves:
            reading = _reading(program, leaf, anchor)
            if reading is None:
                return None
            found.append(reading)
    return found or None


def _anchor(program: Program, statement: ast.stmt) -> ast.stmt | None:
    """Give the statement before which something can be reduced that a statement reads."""
    if isinstance(statement, ast.While | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return None
    anchor = statement
    for outer in program.ancestors(statement):
        if not isinstance(outer, ast.stmt):
            continue
        guard = isinstance(outer, ast.If) and any(WorkerZero() in value.things for value in program.values(outer.test))
        chained = isinstance(outer, ast.If) and anchor in outer.orelse and _is_elif(program, anchor)
        if not guard and not chained:
            break
        anchor = outer
    return anchor


def _is_elif(program: Program, statement: ast.stmt) -> bool:
    """Whether a statement is written as ``elif``."""
    return isinstance(statement, ast.If) and program.source.segment(statement).startswith("elif")


def _leaves(program: Program, node: ast.expr, context: Context) -> list[ast.expr] | None:
    """Give the smallest expressions that can be reduced and make up all that depends on the slice."""
    value = program.value(node, context)
    if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return None if value is None or value.spread.local else []
    if value is not None and not value.spread.local and value.items is None and not value.things:
        return []
    children = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    if isinstance(node, ast.Call):
        children += [keyword.value for keyword in node.keywords]
    if value is not None and value.spread.reducible:
        inner = [child for child in children if _local(program, child, context)]
        if not isinstance(node, ast.BinOp | ast.UnaryOp) or len(inner) != 1:
            return [node]
        return _leaves(program, inner[0], context)
    if not children or isinstance(node, ast.Attribute | ast.Subscript | ast.Name):
        return None if value is not None and value.spread.local else []
    found: list[ast.expr] = []
    for child in children:
        inside = _leaves(program, child, context)
        if inside is None:
            return None
        found += inside
    if not found and value is not None and value.spread.local:
        return None
    return found


def _reading(program: Program, node: ast.expr, anchor: ast.stmt) -> Reading | None:
    """Give how one expression is reduced, where all ways that lead to it agree on that."""
    hvd = program.runtime
    values = program.facts.values.get(node, {})
    kinds = {_kind(value) for value in values.values()}
    if len(kinds) != 1 or None in kinds:
        return None
    (kind,) = kinds
    text, base = program.source.segment(node), _base(node)
    if kind is Kind.SUM:
        counts = all(value.spread.kind is Kind.COUNT for value in values.values())
        base = "samples" if counts and not isinstance(node, ast.Name) else base or "sum"
        return Reading(node, anchor, f"{{name}} = {hvd}.allreduce({text}, op={hvd}.Sum)", f"all_{base}", False)
    if kind is Kind.SHARE:
        plain = isinstance(node, ast.Name | ast.Attribute | ast.Subscript)
        return Reading(
            node, anchor, f"{{name}} = {hvd}.allreduce({text})", text if plain else f"mean_{base or 'value'}", plain
        )
    names = set()
    for context, value in values.items():
        place = next((place for place in program.places(program.statement(node)) if place.context == context), None)
        if place is not None:
            loop = next((loop for loop, where in reversed(place.loops) if where == context), None)
            near = loop.iter if isinstance(loop, ast.For) else None
            names.add(program.expression(loaders_of(value.spread), place, near))
    if len(names) != 1 or None in names:
        return None
    if not all(value.number for value in values.values()):
        text = (
            f"{text}.detach()"
            if isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript)
            else f"({text}).detach()"
        )
    line = f"{{name}} = {hvd}.allreduce({text} * {names.pop()}.weight)"
    return Reading(node, anchor, line, f"mean_{base or 'value'}", False)


def _kind(value: Value) -> Kind | None:
    """Give how a value is reduced: as a sum, a share or a mean; None where it cannot be."""
    spread = value.spread
    if not dealt(spread) or (for_evaluation(spread) and spread.kind in _CURRENT):
        return None
    if spread.additive:
        return Kind.SUM
    return spread.kind if spread.kind in (Kind.SHARE, Kind.MEAN) else None


def _base(node: ast.expr) -> str:
    """Give a name for what an expression is about."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return _base(node.value) if node.attr in _THROUGH else node.attr
    if isinstance(node, ast.Subscript):
        label = node.slice.value if isinstance(node.slice, ast.Constant) else ""
        name = _base(node.value)
        return f"{name}_{label}" if isinstance(label, str) and label.isidentifier() else name
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in _THROUGH:
            return _base(node.func.value)
        if isinstance(node.func, ast.Attribute | ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            if name in ("float", "int") and node.args:
                return _base(node.args[0])
            return "" if name in ("len", "size", "numel") else name
    return ""
