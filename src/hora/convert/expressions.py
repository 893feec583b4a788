"""What an expression gives: names, literals, operators, comprehensions. Reaching into values is in :mod:`access`."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from hora.convert import (
    access,
    assumptions,
    calls,
    containers,
    listings,
    names,
    ranks,
    samples,
    shapes,
    shifts,
    tensors,
    written,
)
from hora.convert.memory import either
from hora.convert.spread import ALIKE, ZERO, Kind, Spread, add, divide, multiply, nonlinear, shown, text
from hora.convert.spread import join as join_spreads
from hora.convert.values import (
    UNKNOWN,
    Box,
    Constant,
    Function,
    Named,
    Parameters,
    Rank,
    Start,
    Thing,
    Value,
    WorkerZero,
    join,
    of,
    tensor,
)

if TYPE_CHECKING:
    from hora.convert.walk import Walk


def evaluate(walk: Walk, node: ast.expr) -> Value:
    """Give the value of an expression."""
    handler = _HANDLERS.get(type(node))
    if handler is not None:
        return handler(walk, node)
    spread = ALIKE
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            spread = join_spreads(spread, walk.state.deep_spread(walk.value(child)))
    return tensor(spread)


def truth(value: Value) -> bool | None:
    """Give what a test decides, where it is always the same."""
    if value.things and value.spread.alike:
        answers = {bool(thing.value) if isinstance(thing, Constant) else None for thing in value.things}
        if len(answers) == 1:
            return answers.pop()
    return None


def outcome(walk: Walk, test: ast.expr, value: Value) -> bool | None:
    """Give how a test comes out that was just evaluated, where that is known."""
    known = truth(value)
    return assumptions.holds(walk, test) if known is None and value.spread.alike else known


def operate(
    walk: Walk, op: ast.operator, left: Value, right: Value, node: ast.AST, sides: tuple[ast.expr, ast.expr]
) -> Value:
    """Give the value of an operation on two."""
    one, other = walk.state.deep_spread(left), walk.state.deep_spread(right)
    written.met(walk, left, right)
    if isinstance(op, ast.Add) and Start() in left.things and other.kind is Kind.COUNT:
        return Value(other, frozenset({Start()}), number=True)
    if (places := shapes.offset(op, left, right)) is not None:
        return places
    for held, factor in ((left, right), (right, left)):
        if one.full is not other.full and held.spread.full and factor.only(Constant):
            return replace(held, things=frozenset())
    sequence = any(isinstance(thing, Box | Parameters) for thing in left.things) or left.items is not None
    if isinstance(op, ast.Add | ast.Sub) and not sequence:
        spread = add(one, other, node)
    elif isinstance(op, ast.Mult) and not sequence:
        spread = multiply(one, other, node)
        if (
            Kind.HELD in (one.kind, other.kind)
            and spread.kind in (Kind.COUNT, Kind.SUM)
            and (left.world or right.world)
        ):
            # N times a sum, where there are samples to sum over: its average over the workers is the global sum.
            return Value(replace(spread, kind=Kind.SHARE), number=left.number and right.number)
    elif isinstance(op, ast.Div):
        spread = divide(one, other, node)
    elif isinstance(op, ast.MatMult):
        spread = tensors.product(left, right, node)
    elif sequence:
        items = left.items + right.items if left.items is not None and right.items is not None else None
        return Value(join_spreads(left.spread, right.spread), left.things | right.things, items)
    else:
        spread = nonlinear((one, other), node, "an operation")
    parts = tuple((side, value) for side, value in zip(sides, (left, right), strict=True) if value.spread.reducible)
    if spread.kind is Kind.MIXED and Kind.MIXED not in (one.kind, other.kind):
        walk.escape(node, parts, "is computed with")
    if spread.kind is Kind.ZERO and not one.kind is other.kind is Kind.ZERO:
        spread = ALIKE
    return Value(
        spread=replace(spread, exact=False) if spread.exact else spread,
        number=(left.number or one.alike) and (right.number or other.alike) and (left.number or right.number),
        # What is divided by the batch size is a number of batches.
        sized=left.sized or (right.sized and not isinstance(op, ast.Div | ast.FloorDiv)),
        world=left.world or right.world,
        rank=ranks.met(walk, left, right, sides) if not isinstance(op, ast.MatMult) else None,
    )


def _name(walk: Walk, node: ast.Name) -> Value:
    """Give what a name stands for."""
    if node.id == "__name__":
        return of(Constant("__main__" if walk.here == walk.module else walk.files[walk.here].stem, "str"))
    found = walk.lookup(node.id)
    if found is None:
        return of(Named(f"builtins.{node.id}")) if node.id in calls.BUILTINS else _starred(walk, node.id)
    return found


def _starred(walk: Walk, name: str) -> Value:
    """Give what a name stands for that ``from torch.nn import *`` and the like may have brought in."""
    homes = {"torch.utils.data": names.OF_DATA, "torch.optim": names.OF_OPTIM}
    for module in walk.stars:
        if name in homes.get(module, frozenset()):
            return of(Named(f"{module}.{name}"))
    for module in walk.stars:
        if module.startswith("torch.nn") and (name[:1].isupper() or name in names.LOSSES):
            return of(Named(f"{module}.{name}"))
    return UNKNOWN


def _constant(walk: Walk, node: ast.Constant) -> Value:
    """Give a literal."""
    if node.value is ...:
        return UNKNOWN
    number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
    thing = Constant(node.value, type(node.value).__name__)
    return Value(spread=ZERO if number and node.value == 0 else ALIKE, things=frozenset({thing}), number=number)


def _attribute(walk: Walk, node: ast.Attribute) -> Value:
    """Give an attribute."""
    return access.attribute(walk, walk.value(node.value), node.attr, node)


def _binary(walk: Walk, node: ast.BinOp) -> Value:
    """Give the value of a binary operator."""
    left, right = walk.value(node.left), walk.value(node.right)
    if left.spread.kind is right.spread.kind is Kind.MIXED and (found := shifts.shifted(walk, node)) is not None:
        return found
    if isinstance(node.op, ast.Mod) and any(isinstance(t, Constant) and t.type == "str" for t in left.things):
        parts = right.items if right.items is not None else (right,)
        return tensor(text(shown(walk.state.deep_spread(part) for part in parts), node))
    if walk.sampling is not None and node in walk.sampling.sums:
        more = samples.added(walk, walk.sampling.sums[node], node.op, left, right)
        if more is not None:
            return more
    return operate(walk, node.op, left, right, node, (node.left, node.right))


def _unary(walk: Walk, node: ast.UnaryOp) -> Value:
    """Give the value of a unary operator."""
    value = walk.value(node.operand)
    if isinstance(node.op, ast.USub | ast.UAdd):
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            number = node.operand.value
            if isinstance(number, int | float):
                return Value(value.spread, frozenset({Constant(-number, type(number).__name__)}), number=True)
        return replace(value, things=frozenset())
    if isinstance(node.op, ast.Not):
        known = truth(value)
        if known is not None:
            return of(Constant(not known, "bool"))
        if Rank() in value.things:
            return Value(value.spread, frozenset({WorkerZero()}))
    return tensor(_decided(walk, (node.operand,), (value,), node))


def _compare(walk: Walk, node: ast.Compare) -> Value:
    """Give the value of a comparison."""
    sides = (node.left, *node.comparators)
    values = tuple(walk.value(side) for side in sides)
    if len(node.ops) == 1:
        known = _known(node.ops[0], values[0], values[1])
        if known is not None:
            return of(Constant(known, "bool"))
        zero = any(value.things and truth(value) is False for value in values)
        if isinstance(node.ops[0], ast.Eq) and zero and any(Rank() in value.things for value in values):
            return Value(
                values[0].spread if not values[0].spread.alike else values[1].spread, frozenset({WorkerZero()})
            )
        if isinstance(node.ops[0], ast.Is | ast.IsNot):
            return UNKNOWN
    rank = ranks.met(walk, values[0], values[1], sides) if len(values) == 2 else None
    return replace(tensor(_decided(walk, sides, values, node), number=True), rank=rank)


def _known(op: ast.cmpop, left: Value, right: Value) -> bool | None:
    """Give what a comparison gives that always comes out the same."""
    none = Constant(None, "NoneType")
    if isinstance(op, ast.Is | ast.IsNot) and right.things == {none}:
        if left.things == {none} and left.spread.alike:
            return isinstance(op, ast.Is)
        if (left.things and none not in left.things) or left.spread.local:
            return isinstance(op, ast.IsNot)
        return None
    if len(left.things) != 1 or len(right.things) != 1:
        return None
    (one,), (other,) = left.things, right.things
    if isinstance(one, Constant) and isinstance(other, Constant) and one.type == other.type and one.type in _COMPARED:
        if isinstance(op, ast.Eq | ast.NotEq):
            return (one.value == other.value) is isinstance(op, ast.Eq)
    return None


_COMPARED = ("str", "int")


def _decided(walk: Walk, sides: tuple[ast.expr, ...], values: tuple[Value, ...], node: ast.AST) -> Spread:
    """Give the spread of something decided from values, noting those that only make sense globally."""
    spreads = tuple(walk.state.deep_spread(value) for value in values)
    parts = tuple((side, value) for side, value in zip(sides, values, strict=True) if value.spread.reducible)
    walk.escape(node, parts, "is compared")
    return nonlinear(spreads, node, "a decision")


def _boolean(walk: Walk, node: ast.BoolOp) -> Value:
    """Give the value of ``and`` and ``or``."""
    stops = isinstance(node.op, ast.Or)
    values: list[Value] = []
    for part in node.values:
        values.append(walk.value(part))
        if truth(values[-1]) is stops:
            return of(Constant(stops, "bool"))
    result = either(values)
    zero = {WorkerZero()} if not stops and any(WorkerZero() in value.things for value in values) else set()
    things: set[Thing] = {thing for thing in result.things if not isinstance(thing, Constant | WorkerZero)}
    return replace(result, things=frozenset(things | zero))


def _choice(walk: Walk, node: ast.IfExp) -> Value:
    """Give the value of a conditional expression."""
    test = walk.value(node.test)
    walk.judge(node, node.test, test)
    known = outcome(walk, node.test, test)
    if _agrees(walk, node):
        walk.value(node.orelse)
        return walk.value(node.body)
    if WorkerZero() in test.things and isinstance(node.orelse, ast.Constant) and node.orelse.value is None:
        # What worker 0 alone makes, the others do without.
        with walk.decided(test.spread, True):
            return walk.value(node.body)
    if known is not None:
        result = walk.value(node.body if known else node.orelse)
    else:
        held, missed = (assumptions.taken(walk, node.test, way) for way in (True, False))
        with walk.assuming(held):
            yes = walk.value(node.body)
        with walk.assuming(missed):
            no = walk.value(node.orelse)
        result = join(yes, no)
    if test.spread.alike:
        return result
    if test.spread.kind is Kind.EACH:
        return access.tinted(result, test.spread)
    return access.tinted(result, Spread(Kind.OWN, why=test.spread.why))


def _agrees(walk: Walk, node: ast.IfExp) -> bool:
    """Whether training agrees on a value that evaluation does without: HR503 writes so."""
    if not isinstance(node.test, ast.Call) or not isinstance(node.body, ast.Call):
        return False
    asks = Named("torch.is_grad_enabled") in walk.last[node.test.func].things
    return asks and getattr(node.body.func, "attr", "") == "broadcast_object"


def _slice(walk: Walk, node: ast.Slice) -> Value:
    """Give a slice, which depends on the batch where one of its bounds does."""
    values = [walk.value(part) for part in (node.lower, node.upper, node.step) if part is not None]
    return next((tensor(value.spread) for value in values if not value.spread.alike), UNKNOWN)


def _lambda(walk: Walk, node: ast.Lambda) -> Value:
    """Give a function without a name."""
    return of(Function(node, walk.frame))


def _joined(walk: Walk, node: ast.JoinedStr) -> Value:
    """Give a formatted string: it holds what it shows."""
    spreads: list[Spread] = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            spreads.append(walk.state.deep_spread(walk.value(part.value)))
            if part.format_spec:
                walk.value(part.format_spec)
    return tensor(text(shown(spreads), node))


def _walrus(walk: Walk, node: ast.NamedExpr) -> Value:
    """Give the value that a name is bound to on the way."""
    value = walk.value(node.value)
    walk.assign(node.target, value)
    return value


def _yield(walk: Walk, node: ast.Yield | ast.YieldFrom) -> Value:
    """Note what a generator hands out."""
    value = walk.value(node.value) if node.value else UNKNOWN
    if isinstance(node, ast.YieldFrom):
        value, loaders = access.elements(walk, value, node)
        walk.exits.drawn |= loaders
    walk.exits.yields.append(listings.yielded(walk, value))
    return UNKNOWN


_HANDLERS: dict[type[ast.expr], Callable[..., Value]] = {
    ast.Name: _name,
    ast.Constant: _constant,
    ast.Attribute: _attribute,
    ast.Subscript: lambda walk, node: access.subscript(walk, node),
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.Compare: _compare,
    ast.BoolOp: _boolean,
    ast.IfExp: _choice,
    ast.Tuple: lambda walk, node: containers.tuple_of(walk, node),
    ast.List: lambda walk, node: containers.list_of(walk, node),
    ast.Set: lambda walk, node: containers.list_of(walk, node),
    ast.Dict: lambda walk, node: containers.dict_of(walk, node),
    ast.ListComp: lambda walk, node: containers.collected(walk, node),
    ast.SetComp: lambda walk, node: containers.collected(walk, node),
    ast.GeneratorExp: lambda walk, node: containers.collected(walk, node),
    ast.DictComp: lambda walk, node: containers.collected(walk, node),
    ast.Lambda: _lambda,
    ast.Slice: _slice,
    ast.JoinedStr: _joined,
    ast.NamedExpr: _walrus,
    ast.Yield: _yield,
    ast.YieldFrom: _yield,
    ast.Call: lambda walk, node: calls.call(walk, node),
    ast.Starred: lambda walk, node: walk.value(node.value),
}
