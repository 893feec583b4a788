"""HR601, in a distributed script: metrics are reduced with their counts."""

from __future__ import annotations

import ast

from hora.convert.distributed.guards import on_all
from hora.convert.distributed.library import loaders, reduces, samplers
from hora.convert.distributed.script import Function, Script, keyword
from hora.convert.finding import Finding

CODE = "HR601"


def detect(script: Script) -> list[Finding]:
    """Find sums over a worker's slice that are divided by the size of the whole data set."""
    findings = []
    for loader in _sharded(script):
        for loop in script.draws(loader):
            sums = {ast.unparse(one.target) for one in ast.walk(loop) if isinstance(one, ast.AugAssign)}
            for node, total, count in _divisions(script.function(loop) or script.source.tree):
                if total not in sums or node.lineno < loop.lineno or not on_all(script, loop):
                    continue
                if _whole(script, count, loader) and not reduces(script, script.function(loop) or script.source.tree):
                    message = "a sum over a worker's slice, divided by the size of the whole data set: off by N"
                    findings.append(script.finding(CODE, node, message))
    return list(dict.fromkeys(findings))


def _sharded(script: Script) -> list[ast.Call]:
    """Give the loaders that can have nothing but a DistributedSampler."""
    made = samplers(script)
    return [
        call
        for call in loaders(script)
        if (given := keyword(call, "sampler", 3)) is not None and all(one in made for one in script.origins(given))
    ]


def _divisions(scope: Function | ast.Module) -> list[tuple[ast.expr | ast.stmt, str, ast.expr]]:
    """Give each division with what is divided and by what."""
    found: list[tuple[ast.expr | ast.stmt, str, ast.expr]] = []
    for node in ast.walk(scope):
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Div):
            found.append((node, ast.unparse(node.target), node.value))
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            left = node.left
            if isinstance(left, ast.BinOp) and isinstance(left.op, ast.Mult):
                left = left.right if isinstance(left.left, ast.Constant) else left.left
            if (
                isinstance(left, ast.Call)
                and isinstance(left.func, ast.Attribute)
                and left.func.attr in ("item", "float")
            ):
                left = left.func.value
            found.append((node, ast.unparse(left), node.right))
    return found


def _whole(script: Script, count: ast.expr, loader: ast.Call) -> bool:
    """Whether an expression is the number of samples in a loader's data set."""
    if not (isinstance(count, ast.Call) and ast.unparse(count.func) == "len" and count.args):
        return False
    of = count.args[0]
    if isinstance(of, ast.Attribute) and of.attr == "dataset":
        return script.origins(of.value) == [loader]
    data = keyword(loader, "dataset", 0)
    return data is not None and isinstance(of, ast.Name) and script.origins(of) == script.origins(data)
