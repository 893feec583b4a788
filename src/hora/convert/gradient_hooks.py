"""Hooks of the script that change gradients on their way, before they are averaged over the workers.

What is linear in the gradient, such as a mask or a sign, commutes with the average; a clamp or a norm does not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hora.convert.program import Program
from hora.convert.values import Function

_HOOKS = frozenset({
    "register_hook", "register_full_backward_hook", "register_backward_hook", "register_full_backward_pre_hook",
    "register_post_accumulate_grad_hook", "register_prehook",
})  # fmt: skip
_ALIKE = frozenset({"clone", "detach", "contiguous", "to", "float", "double", "neg", "view", "reshape"})


def bending(program: Program) -> Iterator[ast.Call]:
    """Give the calls that register hooks whose gradients are not linear in those they are given, or not followed."""
    for call in program.all_calls:
        function = call.node.func
        if isinstance(function, ast.Attribute) and function.attr in _HOOKS and call.node.args:
            things = {thing for value in program.values(call.node.args[0]) for thing in value.things}
            hooks = [thing.node for thing in things if isinstance(thing, Function)]
            if len(hooks) < len(things) or not hooks or not all(map(_keeps, hooks)):
                yield call.node


def _keeps(hook: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> bool:
    """Whether a hook leaves gradients as they are, or gives what is linear in them."""
    given = {argument.arg for argument in (*hook.args.posonlyargs, *hook.args.args)} - {"self"}
    if isinstance(hook, ast.Lambda):
        return _linear(hook.body, given) or not _gives(hook.body)
    for node in ast.walk(hook):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr.endswith("_"):
            return False
        if isinstance(node, ast.AugAssign) or (isinstance(node, ast.Attribute) and node.attr == "grad"):
            return False
        if isinstance(node, ast.Return) and node.value is not None and not _passes(node.value, given):
            return False
    return True


def _passes(node: ast.expr, given: set[str]) -> bool:
    """Whether what a hook returns leaves the gradient as it is, or is linear in it."""
    return (isinstance(node, ast.Constant) and node.value is None) or _linear(node, given)


def _gives(body: ast.expr) -> bool:
    """Whether a lambda may give a gradient: not one that prints it, or puts it in a list."""
    name = getattr(body.func, "attr", getattr(body.func, "id", "")) if isinstance(body, ast.Call) else ""
    return name not in ("print", "append", "update", "setdefault", "__setitem__")


def _linear(node: ast.expr, given: set[str]) -> bool:
    """Whether an expression is linear in what the hook is given."""
    if isinstance(node, ast.Name):
        return node.id in given
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub | ast.UAdd) and _linear(node.operand, given)
    if isinstance(node, ast.Tuple):
        return all(_linear(one, given) for one in node.elts)
    if isinstance(node, ast.Subscript):
        return _linear(node.value, given)
    if isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.Add | ast.Sub):
            return _linear(node.left, given) and _linear(node.right, given)
        sides = (node.left, node.right) if isinstance(node.op, ast.Mult) else (node.left,)
        others = {node.left: node.right, node.right: node.left}
        scales = isinstance(node.op, ast.Mult | ast.Div)
        return scales and any(_linear(side, given) and not _mentions(others[side], given) for side in sides)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _ALIKE:
        return _linear(node.func.value, given) and not any(_mentions(one, given) for one in node.args)
    return False


def _mentions(node: ast.expr, given: set[str]) -> bool:
    """Whether an expression depends on what the hook is given."""
    return any(isinstance(one, ast.Name) and one.id in given for one in ast.walk(node))
