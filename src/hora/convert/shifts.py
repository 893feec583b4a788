"""A maximum over the batch that only shifts: ``log(sum(exp(x - m), 1)) + m`` is the same whatever ``m`` is.

So are its gradients, where ``m`` is cut from the graph and where it is not: a worker may take that of its own slice.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from hora.convert import tensors
from hora.convert.spread import ENTRIES, Kind
from hora.convert.values import Value

if TYPE_CHECKING:
    from hora.convert.walk import Walk

_MAXIMA = frozenset({"max", "amax"})
_CUTTING = frozenset({"detach", "item", "clone"})


def shifted(walk: Walk, node: ast.BinOp) -> Value | None:
    """Give the value of a logarithm of a sum of exponentials that is taken in this way; None for anything else."""
    if not isinstance(node.op, ast.Add):
        return None
    for logarithm, shift in ((node.left, node.right), (node.right, node.left)):
        summed = _of("log", logarithm)
        total = _sum(summed) if summed is not None else None
        power = _of("exp", total[0]) if total is not None else None
        if total is None or not isinstance(power, ast.BinOp) or not isinstance(power.op, ast.Sub):
            continue
        if ast.unparse(power.right) != ast.unparse(shift) or not _is_maximum(walk, shift, power.left):
            continue
        held = walk.value(power.left)
        axis = walk.value(total[1])
        result = tensors.reduction(held, walk.state.deep_spread(held), "sum", axis, node)
        return result if result.spread.kind in ENTRIES else None
    return None


def _of(name: str, node: ast.expr) -> ast.expr | None:
    """Give what a function is taken of, called as one of torch or as a method."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != name:
        return None
    if ast.unparse(node.func.value) == "torch":
        return node.args[0] if len(node.args) == 1 and not node.keywords else None
    return node.func.value if not node.args and not node.keywords else None


def _sum(node: ast.expr) -> tuple[ast.expr, ast.expr] | None:
    """Give what a sum adds up and along which axis."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "sum":
        return None
    given = list(node.args)
    summed = given.pop(0) if ast.unparse(node.func.value) == "torch" and given else node.func.value
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    axis = given[0] if given else named.get("dim")
    return None if axis is None else (summed, axis)


def _is_maximum(walk: Walk, shift: ast.expr, of: ast.expr) -> bool:
    """Whether a shift is the greatest entry of what it is taken from, which has not been set anew in between."""
    why = walk.value(shift).spread.why
    call = why.node if why is not None and walk.value(shift).spread.kind is Kind.MIXED else None
    if not isinstance(of, ast.Name) or not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return False
    plain = ast.unparse(call.func.value) == "torch"
    taken: ast.expr = call.args[0] if plain and len(call.args) == 1 else call.func.value
    if call.func.attr not in _MAXIMA or call.keywords or len(call.args) != (1 if plain else 0):
        return False
    while isinstance(taken, ast.Attribute | ast.Call):
        if isinstance(taken, ast.Attribute) and taken.attr == "data":
            taken = taken.value
        elif isinstance(taken, ast.Call) and isinstance(taken.func, ast.Attribute) and taken.func.attr in _CUTTING:
            taken = taken.func.value
        else:
            return False
    if not isinstance(taken, ast.Name) or taken.id != of.id:
        return False
    frame = walk.frame.node
    inside = list(ast.walk(frame))
    stores = [one for one in inside if isinstance(one, ast.Name) and one.id == of.id and isinstance(one.ctx, ast.Store)]
    return call in inside and shift in inside and not any(call.lineno <= one.lineno <= shift.lineno for one in stores)
