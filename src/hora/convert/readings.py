"""What is reduced where it is read: a value of the worker's slice that goes where only the global one is right."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from hora.convert.facts import Escape
from hora.convert.metrics import CURRENT, countable, dealt, for_evaluation, inside_evaluation, loaders_of
from hora.convert.naming import loader
from hora.convert.products import TIGHT
from hora.convert.program import Program
from hora.convert.spread import TEXT, Kind, Spread
from hora.convert.values import Box, Context, Value, WorkerZero

_THROUGH = frozenset(["item", "detach", "cpu", "numpy", "data", "float", "mean", "sum", "tolist", "clone"])


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


def readings(program: Program, escape: Escape, *, inner: bool = True) -> list[Reading] | None:
    """Give how the values that escape are reduced where they are read; None where that cannot be done.

    Not ``inner``, they are reduced before the function that they escape in.
    """
    spreads = [value.spread for _, value in escape.parts]
    if inside_evaluation(program, escape.place):
        return None
    for node, parts, context in _levels(program, escape, spreads):
        if context == escape.place.context and not inner:
            return None
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
    for spread in spreads:
        text = spread.why.node if spread.why is not None and spread.why.message == TEXT else None
        if isinstance(text, ast.expr) and program.value(text, context) is not None:
            # A text that has a name shows what is reduced before the text is made.
            yield text, [text], context


def _local(program: Program, node: ast.expr, context: Context) -> bool:
    """Whether an expression depends on the worker's slice."""
    value = program.value(node, context)
    return value is not None and value.spread.local


def _reduced_at(program: Program, node: ast.AST, parts: list[ast.expr], context: Context) -> list[Reading] | None:
    """Give how expressions are reduced before the statement that they stand in."""
    if not parts:
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
    return isinstance(statement, ast.If) and program.home(statement).segment(statement).startswith("elif")


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
    text, base = program.home(node).segment(node), _base(node)
    factor = text if isinstance(node, TIGHT) else f"({text})"
    if kind is Kind.SUM:
        counts = all(value.spread.kind is Kind.COUNT for value in values.values())
        base = "samples" if counts and not isinstance(node, ast.Name) else base or "sum"
        loader = _loader(program, node) if all(countable(value.spread) for value in values.values()) else None
        own = f"{factor} * bool({loader}.weight)" if loader is not None else text
        return Reading(node, anchor, f"{{name}} = {hvd}.allreduce({own}, op={hvd}.Sum)", f"all_{base}", False)
    if kind is Kind.SHARE:
        plain = isinstance(node, ast.Name | ast.Attribute | ast.Subscript)
        return Reading(
            node, anchor, f"{{name}} = {hvd}.allreduce({text})", text if plain else f"mean_{base or 'value'}", plain
        )
    loader = _loader(program, node)
    if loader is None:
        return None
    if not all(value.number for value in values.values()):
        factor = f"{factor}.detach()"
    line = f"{{name}} = {hvd}.allreduce({factor} * {loader}.weight)"
    return Reading(node, anchor, line, f"mean_{base or 'value'}", False)


def _loader(program: Program, node: ast.expr) -> str | None:
    """Give the name of the loader whose batch an expression is read of, where it has the same on all ways."""
    names = set()
    for context, value in program.facts.values.get(node, {}).items():
        place = next((place for place in program.places(program.statement(node)) if place.context == context), None)
        if place is not None:
            loop = next((loop for loop, where in reversed(place.loops) if where == context), None)
            near = [loop.iter] if isinstance(loop, ast.For) else []
            names.add(loader(program, loaders_of(value.spread), place, near))
    return names.pop() if len(names) == 1 else None


def _kind(value: Value) -> Kind | None:
    """Give how a value is reduced: as a sum, a share or a mean; None where it cannot be."""
    spread = value.spread
    if not dealt(spread) or (for_evaluation(spread) and spread.kind in CURRENT):
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
