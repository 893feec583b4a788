"""Functions that cut hidden states from their graph, in a tuple or alone, by calling themselves on its parts."""

from __future__ import annotations

import ast
from dataclasses import replace
from functools import lru_cache

from hora.convert.values import Value

_TENSORS = frozenset({"torch.Tensor", "Tensor", "Variable", "torch.autograd.Variable"})


@lru_cache(maxsize=4096)
def detaches(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> bool:
    """Whether a function gives its argument cut from the graph: itself, or in the same order the parts that it has.

    That is ``if isinstance(h, Tensor): return h.detach()`` and else ``tuple(f(v) for v in h)``, however it is laid out.
    """
    if not isinstance(node, ast.FunctionDef) or len(node.args.args) != 1:
        return False
    name = node.args.args[0].arg
    body = [one for one in node.body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
    if not body or not isinstance(body[0], ast.If) or not _asks(body[0].test, name):
        return False
    otherwise = body[0].orelse or body[1:]
    ends = [*body[0].body, *otherwise]
    if len(ends) != 2 or len(body) != (1 if body[0].orelse else 2):
        return False
    cut, several = (one.value if isinstance(one, ast.Return) else None for one in ends)
    return cut is not None and several is not None and _cuts(cut, name) and _each(several, node.name, name)


def detached(value: Value) -> Value:
    """Give a value with its parts, cut from the graph."""
    items = None if value.items is None else tuple(detached(item) for item in value.items)
    return replace(value, items=items, number=True)


def _asks(test: ast.expr, name: str) -> bool:
    """Whether a test asks if a name is a tensor."""
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq | ast.Is):
        return ast.unparse(test.left) == f"type({name})" and ast.unparse(test.comparators[0]) in _TENSORS
    if not (isinstance(test, ast.Call) and ast.unparse(test.func) == "isinstance" and len(test.args) == 2):
        return False
    kinds = test.args[1].elts if isinstance(test.args[1], ast.Tuple) else [test.args[1]]
    return ast.unparse(test.args[0]) == name and all(ast.unparse(kind) in _TENSORS for kind in kinds)


def _cuts(node: ast.expr, name: str) -> bool:
    """Whether an expression is a name cut from the graph."""
    return ast.unparse(node) in (
        f"{name}.detach()",
        f"Variable({name}.data)",
        f"{name}.data",
        f"{name}.clone().detach()",
    )


def _each(node: ast.expr, function: str, name: str) -> bool:
    """Whether an expression calls a function on each part of a name, in their order."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("tuple", "list") and len(node.args) == 1:
        node = node.args[0]
    if not isinstance(node, ast.GeneratorExp | ast.ListComp) or len(node.generators) != 1:
        return False
    part = node.generators[0]
    return (
        ast.unparse(part.iter) == name
        and not part.ifs
        and ast.unparse(node.elt) == f"{function}({ast.unparse(part.target)})"
    )
