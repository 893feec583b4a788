"""HR103: nn.DataParallel has no place inside a worker."""

from __future__ import annotations

import ast

from hora.convert.edits import Edit, only_else, replace, without
from hora.convert.finding import Finding
from hora.convert.names import SPREADERS
from hora.convert.networks import is_module, is_restored
from hora.convert.program import Program

CODE = "HR103"
TITLE = "nn.DataParallel has no place inside a worker"
WHY = "It would spread each worker's slice over all GPUs of the machine, on which the other workers are already."

_MESSAGE = "the worker's slice would be spread over all GPUs; checkpoints have no 'module.' in their keys without it"
_QUESTIONS = ("torch.cuda.device_count", "torch.cuda.is_available", "len", "isinstance", "hasattr")


def detect(program: Program) -> list[Finding]:
    """Find networks that spread over several GPUs by themselves."""
    findings: list[Finding] = []
    nodes = [node for node in dict.fromkeys(call.node for call in program.calls_of(*SPREADERS)) if _wrapped(node)]
    rewrapped = {program.statement(node): node for node in nodes if _rewraps(program, node)}
    for node in dict.fromkeys(call.node for call in program.calls_of(*SPREADERS)):
        statement = program.statement(node)
        if node not in nodes:
            findings.append(program.finding(CODE, node, "the network that it spreads is not to be seen here", None))
        elif rewrapped.get(statement) is not node:
            findings.append(program.finding(CODE, node, _MESSAGE, [_unwrapped(program, node)]))
        elif any(one not in rewrapped for one in program.block(statement)):
            findings.append(program.finding(CODE, node, _MESSAGE, [without(program.home(node), statement)]))
        elif statement is program.block(statement)[0]:
            findings.append(program.finding(CODE, node, _MESSAGE, _emptied(program, statement)))
    return findings + (_inner(program) if findings else [])


def _wrapped(node: ast.Call) -> ast.expr | None:
    """Give the network that a call spreads, where it is to be seen."""
    return node.args[0] if node.args and not isinstance(node.args[0], ast.Starred) else None


def _rewraps(program: Program, node: ast.Call) -> bool:
    """Whether all that a call's statement does is to put the network into the wrapper, under its own name."""
    source, statement = program.home(node), program.statement(node)
    return (
        isinstance(statement, ast.Assign)
        and statement.value is node
        and [source.segment(target) for target in statement.targets] == [source.segment(node.args[0])]
    )


def _emptied(program: Program, statement: ast.stmt) -> list[Edit]:
    """Take out a block that does nothing but wrap, with the question that leads there: an ``else`` does without it."""
    source = program.home(statement)
    block, outer = program.block(statement), program.parents[statement]
    alone = isinstance(outer, ast.If) and not source.segment(outer).startswith("elif")
    if isinstance(outer, ast.If) and alone and block is outer.body and _only_asks(outer.test):
        if not outer.orelse and len(program.block(outer)) > 1:
            return [without(source, outer)]
        if outer.orelse and not source.segment(outer.orelse[0]).startswith("elif"):
            return only_else(source, outer)
    return [replace(source, statement, "pass"), *(without(source, one) for one in block[1:])]


def _unwrapped(program: Program, node: ast.Call) -> Edit:
    """Leave what is wrapped."""
    source = program.home(node)
    wrapped = source.segment(node.args[0])
    if ast.unparse(node.func).endswith("data_parallel"):
        given = ", ".join(source.segment(one) for one in node.args[1:2])
        return replace(source, node, f"{wrapped}({given})")
    tight = isinstance(node.args[0], ast.Name | ast.Attribute | ast.Call | ast.Subscript)
    return replace(source, node, wrapped if tight else f"({wrapped})")


def _only_asks(test: ast.expr) -> bool:
    """Whether a test does nothing but ask."""
    return all(ast.unparse(node.func) in _QUESTIONS for node in ast.walk(test) if isinstance(node, ast.Call))


def _inner(program: Program) -> list[Finding]:
    """Find where the network is taken out of its wrapper."""
    findings = []
    for node in program.nodes():
        if not (isinstance(node, ast.Attribute) and node.attr == "module" and isinstance(node.ctx, ast.Load)):
            continue
        things = [thing for value in program.values(node.value) for thing in value.things if not is_restored(thing)]
        named = any("module" in program.facts.bindings.get(thing, ()) for thing in things)
        if things and not named and all(is_module(thing) for thing in things):
            source = program.home(node)
            edit = Edit(source.span(node.value)[1], source.span(node)[1], "", source.path)
            findings.append(program.finding(CODE, node, "there is no wrapper to reach into", [edit]))
    return findings
