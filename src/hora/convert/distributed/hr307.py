"""HR307, in a distributed script: accumulation windows keep their weights."""

from __future__ import annotations

import ast

from hora.convert.distributed.accelerator import backwards_past
from hora.convert.distributed.script import Script, is_constant, keyword
from hora.convert.finding import Finding

CODE = "HR307"


def detect(script: Script) -> list[Finding]:
    """Find losses that their window does not divide, and windows that begin with a step."""
    return [*_undivided(script), *_stepped_at_once(script)]


def _undivided(script: Script) -> list[Finding]:
    """Find backward passes that Accelerate's window does not see."""
    windows = [keyword(call, "gradient_accumulation_steps") for call in script.starts]
    if all(one is None or (isinstance(one, ast.Constant) and one.value == 1) for one in windows):
        return []
    message = "accelerator.backward() divides the loss by the batches of a window, and this does not"
    return [script.finding(CODE, call, message) for call in backwards_past(script)]


def _stepped_at_once(script: Script) -> list[Finding]:
    """Find steps after each batch whose number, from zero, the window divides: the first window has one batch."""
    findings = []
    for test in script.nodes:
        if not isinstance(test, ast.If) or (found := _divided(test.test)) is None:
            continue
        number, window = found
        loop = next((one for one in script.loops(test) if isinstance(one, ast.For)), None)
        steps = [one for one in script.calls_of(".step") if script.statement(one) in test.body]
        if loop is None or not steps or _counted_from_zero(script, loop) != number:
            continue
        if any(_divides(one, window) for one in ast.walk(loop)):
            message = (
                f"the first window is one batch, divided by {window}: ({number} + 1) % {window} == 0 ends full ones"
            )
            findings.append(script.finding(CODE, test.test, message))
    return findings


def _divided(test: ast.expr) -> tuple[str, str] | None:
    """Give what is divided by what, where a test asks whether nothing remains."""
    if (
        isinstance(test, ast.Compare)
        and isinstance(test.ops[0], ast.Eq)
        and isinstance(test.left, ast.BinOp)
        and isinstance(test.left.op, ast.Mod)
        and isinstance(test.left.left, ast.Name)
        and isinstance(test.comparators[0], ast.Constant)
        and test.comparators[0].value == 0
    ):
        return test.left.left.id, ast.unparse(test.left.right)
    return None


def _counted_from_zero(script: Script, loop: ast.For) -> str | None:
    """Give the name that numbers a loop's rounds."""
    call = loop.iter
    if (
        not isinstance(call, ast.Call)
        or script.name(call.func) != "enumerate"
        or not isinstance(loop.target, ast.Tuple)
    ):
        return None
    start = keyword(call, "start", 1)
    return ast.unparse(loop.target.elts[0]) if start is None or is_constant(start, 0) else None


def _divides(node: ast.AST, window: str) -> bool:
    """Whether a loss is divided by the number of a window's batches."""
    if isinstance(node, ast.AugAssign):
        return isinstance(node.op, ast.Div) and ast.unparse(node.value) == window
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and ast.unparse(node.right) == window
