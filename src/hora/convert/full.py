"""The batch size that a loader was given, in a step that only full batches come to: the number of their samples."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hora.convert.arguments import literal
from hora.convert.edits import Edit, replace
from hora.convert.facts import Place
from hora.convert.metrics import batch_loop, loaders_of
from hora.convert.program import Program
from hora.convert.spread import Kind
from hora.convert.values import Loader, Value, plain


def counted(program: Program, node: ast.AST) -> list[Edit] | None:
    """Count the samples of the batch where an operation takes the batch size; None where batches may hold fewer.

    Parameters
    ----------
    program
        The script.
    node
        The operation: one that makes a tensor as large as the batch, or lays one out anew.
    """
    edits: dict[ast.expr, Edit] = {}
    for context in program.facts.values.get(node, {}):
        within = _in_step(program, (node, *reversed(context)))
        if within is None:
            return None
        operation, place, loop = within
        sizes = list(_sizes(program, operation, place))
        name = _samples(program, loop, place)
        if len(sizes) != 1 or name is None or not (_drops_last(program) or _passed_over(program, loop, operation)):
            return None
        for size in sizes:
            edits[size] = replace(program.home(size), size, f"len({name})")
    return list(edits.values()) or None


def _in_step(program: Program, nodes: tuple[ast.AST, ...]) -> tuple[ast.AST, Place, ast.For] | None:
    """Give the innermost of an operation and the calls that led to it that stands in the loop over the batches."""
    loops = {loop for draw in program.training_draws if isinstance(loop := batch_loop(draw), ast.For)}
    for node in nodes:
        loop = next((one for one in program.ancestors(node) if one in loops), None)
        places = program.places(program.statement(node))
        if isinstance(loop, ast.For) and len(places) == 1:
            return node, places[0], loop
    return None


def _sizes(program: Program, node: ast.AST, place: Place) -> Iterator[ast.expr]:
    """Give the outermost expressions in an operation that are the batch size itself."""
    for child in ast.iter_child_nodes(node):
        value = program.value(child, place.context) if isinstance(child, ast.expr) else None
        if isinstance(child, ast.Name | ast.Attribute | ast.Subscript) and value is not None and _given(program, value):
            yield child
        else:
            yield from _sizes(program, child, place)


def _samples(program: Program, loop: ast.For, place: Place) -> str | None:
    """Give a name that the loop gives the samples of each batch, along their first axis, and nothing else."""
    for node in ast.walk(loop.target):
        if isinstance(node, ast.Name):
            value = program.facts.bindings.get(place.frame, {}).get(node.id)
            loaders = loaders_of(value.spread) if value is not None else frozenset()
            rows = value is not None and value.spread.kind is Kind.ROWS and value.spread.axis == 0
            if rows and {plain(one) for one in loaders} == program.training_loaders:
                return node.id
    return None


def _given(program: Program, value: Value) -> bool:
    """Whether a value is the batch size that the training loaders were given, and not another of that name."""
    sizes = [program.facts.given[loader].get(1, "batch_size") for loader in program.training_loaders]
    return (
        value.sized and bool(value.things) and all(size is not None and size.things == value.things for size in sizes)
    )


def _drops_last(program: Program) -> bool:
    """Whether the one training loader leaves a last batch out that is not full."""
    (loader, *others) = program.training_loaders or (None,)
    if others or not isinstance(loader, Loader):
        return False
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
                if _differ(program, test) or (_counted_out(program, loop, test) and _breaks(statement)):
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
    sizes = program.values(full.right)
    return (
        isinstance(full.op, ast.FloorDiv)
        and bool(sizes)
        and all(_given(program, size) for size in sizes)
        and _all_samples(program, full.left)
    )


def _all_samples(program: Program, node: ast.expr) -> bool:
    """Whether an expression is the number of samples of the one training loader."""
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
    return len(loaders) == 1 and loaders == program.training_loaders


def _differ(program: Program, test: ast.Compare) -> bool:
    """Whether a test finds that a batch holds another number of samples than the loader was given."""
    (left, right), (how,) = (test.left, test.comparators[0]), test.ops
    sides = [(left, right, ast.Lt), (right, left, ast.Gt)]
    return any(
        isinstance(how, ast.NotEq | less)
        and all(value.sized for value in program.values(size))
        and all(value.spread.kind is Kind.COUNT for value in program.values(count))
        and bool(program.values(size))
        and bool(program.values(count))
        for count, size, less in sides
    )
