"""What an optimizer is given to train: the parameters of networks, which a wrapper reduces, or something else."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hora.convert.distributed.script import Script, keyword
from hora.convert.networks import is_module
from hora.convert.program import Program

_PASSING = frozenset({"list", "tuple", "iter", "set", "sorted", "chain", "itertools.chain", "chain.from_iterable"})
_FILTERS = frozenset({"filter"})
_GROWING = frozenset({"append", "extend", "insert", "update", "add"})


def beyond(program: Program, script: Script, optimizer: ast.AST) -> ast.expr | None:
    """Give what an optimizer is given that may be no network's parameter; None where there is nothing.

    Parameters
    ----------
    program
        The script.
    script
        The file in which the optimizer is made, as text.
    optimizer
        The call that makes it.
    """
    given = keyword(optimizer, "params", 0) if isinstance(optimizer, ast.Call) else None
    if given is None:
        return optimizer if isinstance(optimizer, ast.expr) else None
    return next(_others(program, script, given, set()), None)


def _others(program: Program, script: Script, node: ast.expr, seen: set[ast.AST]) -> Iterator[ast.expr]:
    """Give the parts of an expression that may hold something else than parameters of networks."""
    if node in seen:
        return
    seen.add(node)
    parts = _parts(program, script, node)
    if parts is None:
        yield node
        return
    for part in parts:
        yield from _others(program, script, part, seen)


def _parts(program: Program, script: Script, node: ast.expr) -> list[ast.expr] | None:
    """Give the expressions that one is put together from; none for a network's parameters, None for what else it is."""
    values = program.values(node)
    if values and all(value.things and all(map(is_module, value.things)) for value in values):
        return []
    if isinstance(node, ast.Starred):
        return [node.value]
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return node.elts
    if isinstance(node, ast.Dict):
        named = zip(node.keys, node.values, strict=True)
        return [value for key, value in named if not isinstance(key, ast.Constant) or key.value == "params"]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [node.left, node.right]
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp):
        return [node.elt, *(one.iter for one in node.generators)]
    if isinstance(node, ast.Call):
        return _called(script, node)
    if isinstance(node, ast.Name):
        return _named(script, node)
    return None


def _called(script: Script, node: ast.Call) -> list[ast.expr] | None:
    """Give the parts of what a call gives."""
    name = ast.unparse(node.func)
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("parameters", "named_parameters"):
        return []
    if name in _PASSING and not node.keywords:
        return node.args
    if name in _FILTERS and len(node.args) == 2:
        return node.args[1:]
    if name == "dict":
        return [one.value for one in node.keywords if one.arg in ("params", None)]
    origins = script.origins(node)
    return None if origins == [node] else origins


def _named(script: Script, node: ast.Name) -> list[ast.expr] | None:
    """Give what a name may hold: what was bound to it, what a loop binds, and what it has grown by."""
    found = _bound_by_loops(script, node)
    origins = [one for one in script.origins(node) if one is not node]
    grown = [
        argument
        for call, name in script.calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in _GROWING
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == node.id
        for argument in call.args[-1:]
    ]
    parts = [*found, *origins, *grown]
    return parts or None


def _bound_by_loops(script: Script, node: ast.Name) -> list[ast.expr]:
    """Give what the loops and comprehensions around a name go through that bind it."""
    found = []
    for outer in script.ancestors(node):
        loops = outer.generators if isinstance(outer, ast.ListComp | ast.GeneratorExp | ast.SetComp) else [outer]
        for loop in loops:
            if isinstance(loop, ast.For | ast.comprehension) and any(
                isinstance(one, ast.Name) and one.id == node.id for one in ast.walk(loop.target)
            ):
                found.append(loop.iter)
    return found
