"""Whether only full batches come to a step: others are dropped, passed over, or make it raise."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hora.convert.arguments import literal
from hora.convert.metrics import batch_loop, loaders_of
from hora.convert.program import Program
from hora.convert.spread import Kind
from hora.convert.values import Loader, Module, Named, Thing, Value, plain


def loops(program: Program) -> list[ast.For]:
    """Give the loops over batches that are trained on."""
    found = (batch_loop(draw) for draw in program.training_draws)
    return list(dict.fromkeys(loop for loop in found if isinstance(loop, ast.For)))


def drawn(program: Program, loop: ast.For) -> frozenset[Loader]:
    """Give the loaders whose batches a loop goes through; none where its steps take others as well."""
    draws = [draw for draw in program.training_draws if batch_loop(draw) is loop]
    loaders = frozenset(plain(one) for draw in draws for one in draw.loaders)
    trained = (one.value.spread for one in program.backwards if loop in {outer for outer, _ in one.place.loops})
    others = any({plain(one) for one in loaders_of(spread)} - loaders for spread in trained)
    return frozenset() if others else loaders


def given(program: Program, value: Value, loaders: frozenset[Loader]) -> bool:
    """Whether a value is the batch size that these loaders were given, and not another of that name."""
    sizes = [program.facts.given[loader].get(1, "batch_size") for loader in loaders]
    return (
        value.sized
        and bool(value.things)
        and bool(sizes)
        and all(size is not None and size.things == value.things for size in sizes)
    )


def only_full(program: Program, loop: ast.For, node: ast.AST) -> bool:
    """Whether only full batches come to a node in a loop, or the step raises with any other."""
    return _drops_last(program, loop) or _passed_over(program, loop, node) or raises(program, loop)


def raises(program: Program, loop: ast.For) -> bool:
    """Whether each step of a loop raises where the batch is not full, so that a script that runs has no such batch."""
    loaders = drawn(program, loop)
    if any(isinstance(one, ast.Try) for one in program.ancestors(loop)):
        return False
    for statement in loop.body:
        if isinstance(statement, ast.Assign | ast.AugAssign | ast.Expr):
            always = (node for node in _evaluated(statement) if isinstance(node, ast.Call))
            if any(_compares(program, node, loaders) or _lays_out(program, node, loaders) for node in always):
                return True
        elif any(isinstance(one, ast.Continue | ast.Break | ast.Return) for one in ast.walk(statement)):
            return False
    return False


_PARTS = (ast.Assign, ast.AugAssign, ast.Expr, ast.Call, ast.BinOp, ast.UnaryOp, ast.Tuple, ast.Attribute, ast.keyword)
_MATCHING = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "nll_loss"})
"""Losses that raise where there are not as many targets as outputs; others let one be repeated for the other."""


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """Give the parts of a statement that are evaluated whenever it is."""
    yield node
    for child in ast.iter_child_nodes(node) if isinstance(node, _PARTS) else ():
        yield from _evaluated(child)


def _compares(program: Program, node: ast.Call, drawn: frozenset[Loader]) -> bool:
    """Whether a call is of a loss that raises where the batch is not as large as what is made in its full size."""
    functions = {thing for value in program.values(node.func) for thing in value.things}
    makers = {getattr(thing, "maker", getattr(thing, "name", "").rpartition(".")[2]) for thing in functions}
    if not makers or not makers <= _MATCHING or len(node.args) < 2:
        return False
    sides = [program.values(arg) for arg in node.args[:2]]
    return any(
        bool(one) and bool(other) and all(_of_batch(v, drawn) for v in one) and all(v.spread.full for v in other)
        for one, other in (sides, sides[::-1])
    )


def _of_batch(value: Value, drawn: frozenset[Loader]) -> bool:
    """Whether a value has an entry for each sample of the batch."""
    return value.spread.kind is Kind.ROWS and {plain(one) for one in loaders_of(value.spread)} == drawn


def _lays_out(program: Program, node: ast.Call, drawn: frozenset[Loader]) -> bool:
    """Whether a batch is laid out in as many rows as a full one, for a network whose first layer takes one length.

    Of fewer samples the rows would be shorter, and the layer would raise.
    """
    made = [made for name in node.args[:1] if isinstance(name, ast.Name) for made in _last_set(program, node, name.id)]
    if not made or not all(_flattened(program, one, drawn) for one in made):
        return False
    networks = [thing for value in program.values(node.func) for thing in value.things]
    firsts = [first for one in networks if (first := _first_layer(one)) is not None]
    linear = Named("torch.nn.Linear")
    return len(firsts) == len(networks) > 0 and all(
        isinstance(first, ast.Call) and all(value.things == {linear} for value in program.values(first.func))
        for first in firsts
    )


def _first_layer(network: Thing) -> ast.expr | None:
    """Give the first of a network's layers, where they are written in a row."""
    site = network.site if isinstance(network, Module) and network.maker == "torch.nn.Sequential" else None
    return site.args[0] if isinstance(site, ast.Call) and site.args else None


def _last_set(program: Program, node: ast.AST, name: str) -> list[ast.expr]:
    """Give what a name was last set to in the statements of the same block before a node."""
    statement = program.statement(node)
    block = program.block(statement)
    for one in reversed(block[: block.index(statement)]):
        if any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store) for n in ast.walk(one)):
            return [one.value] if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name) else []
    return []


def _flattened(program: Program, node: ast.expr, drawn: frozenset[Loader]) -> bool:
    """Whether an expression is a batch, laid out in as many rows as the batch size: ``x.view(batch_size, -1)``."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _MOVING:
        node = node.func.value
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    rows = node.func.attr in ("view", "reshape") and len(node.args) == 2 and ast.unparse(node.args[1]) == "-1"
    values = program.values(node.func.value)
    return (
        rows
        and bool(values)
        and all(_of_batch(value, drawn) and value.spread.axis == 0 for value in values)
        and all(given(program, value, drawn) for value in program.values(node.args[0]))
    )


_MOVING = frozenset({"to", "cuda", "cpu", "float"})


def _drops_last(program: Program, loop: ast.For) -> bool:
    """Whether the loaders of a loop leave a last batch out that is not full."""
    loaders = drawn(program, loop)
    return bool(loaders) and all(drops_last(program, loader) for loader in loaders)


def drops_last(program: Program, loader: Loader) -> bool:
    """Whether a loader leaves a last batch out that is not full."""
    given = program.facts.given[loader].get(8, "drop_last")
    return given is not None and literal(given) is True


def _passed_over(program: Program, loop: ast.For, node: ast.AST) -> bool:
    """Whether the loop passes over a batch that is not full before it comes to a node."""
    chain = {node, *program.ancestors(node)}
    for statement in loop.body:
        if statement in chain:
            return False
        if isinstance(statement, ast.If) and isinstance(statement.body[-1], ast.Continue | ast.Break):
            test = statement.test
            if isinstance(test, ast.Compare) and len(test.ops) == 1:
                if _differ(program, test, drawn(program, loop)) or (
                    _counted_out(program, loop, test) and _breaks(statement)
                ):
                    return True
    return False


def _breaks(statement: ast.If) -> bool:
    """Whether a branch leaves its loop."""
    return isinstance(statement.body[-1], ast.Break)


def _counted_out(program: Program, loop: ast.For, test: ast.Compare) -> bool:
    """Whether a test finds that as many batches have come as are full: ``i == len(data) // batch_size``."""
    number, full = test.left, test.comparators[0]
    numbers = loop.target.elts[0] if isinstance(loop.target, ast.Tuple) and loop.target.elts else None
    if not isinstance(loop.iter, ast.Call) or len(loop.iter.args) != 1 or loop.iter.keywords:
        return False
    if ast.unparse(loop.iter.func) != "enumerate":
        return False
    if not (isinstance(numbers, ast.Name) and isinstance(number, ast.Name) and number.id == numbers.id):
        return False
    if not (isinstance(test.ops[0], ast.Eq | ast.GtE) and isinstance(full, ast.BinOp)):
        return False
    sizes, loaders = program.values(full.right), drawn(program, loop)
    return (
        isinstance(full.op, ast.FloorDiv)
        and bool(sizes)
        and all(given(program, size, loaders) for size in sizes)
        and _all_samples(program, full.left, loop.iter.args[0], loaders)
    )


def _all_samples(program: Program, node: ast.expr, iterated: ast.expr, drawn: frozenset[Loader]) -> bool:
    """Whether an expression is the number of samples of the loader that is drawn from, whichever branch made it."""
    if not isinstance(node, ast.Call):
        return False
    inner: ast.expr | None = None
    if isinstance(node.func, ast.Name) and node.func.id == "len" and len(node.args) == 1:
        inner = node.args[0]
    elif isinstance(node.func, ast.Attribute) and node.func.attr == "__len__":
        inner = node.func.value
    if not (isinstance(inner, ast.Attribute) and inner.attr == "dataset"):
        return False
    loaders = {plain(thing) for value in program.values(inner.value) for thing in value.things}
    return loaders == drawn and (len(loaders) == 1 or ast.unparse(inner.value) == ast.unparse(iterated))


def _differ(program: Program, test: ast.Compare, drawn: frozenset[Loader]) -> bool:
    """Whether a test finds that a batch holds another number of samples than the loader was given."""
    (left, right), (how,) = (test.left, test.comparators[0]), test.ops
    sides = [(left, right, ast.Lt), (right, left, ast.Gt)]
    return any(
        isinstance(how, ast.NotEq | less)
        and all(given(program, value, drawn) for value in program.values(size))
        and all(_counts(value, drawn) for value in program.values(count))
        and bool(program.values(size))
        and bool(program.values(count))
        for count, size, less in sides
    )


def _counts(value: Value, drawn: frozenset[Loader]) -> bool:
    """Whether a value is the number of samples of the batch."""
    return value.spread.kind is Kind.COUNT and {plain(one) for one in loaders_of(value.spread)} == drawn
