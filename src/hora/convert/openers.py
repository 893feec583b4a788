"""Writers of summaries that every worker opens, and that worker 0 alone has a use for."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hora.convert.edits import Edit
from hora.convert.facts import Call
from hora.convert.program import Program
from hora.convert.values import Foreign, Named

_WRITERS = tuple(f"{home}.SummaryWriter" for home in ("torch.utils.tensorboard", "tensorboardX", "tensorboard"))
_TESTS = (ast.If, ast.While, ast.IfExp, ast.Assert)


def opened(program: Program) -> Iterator[tuple[Call, Edit]]:
    """Give the calls that open a writer on every worker, and what leaves it to worker 0.

    The others get None: so it is left alone unless worker 0 alone reaches into the writer, and nothing asks for it.
    """
    for call in program.all_calls:
        if call.place.alone or not any(Named(name) in call.function.things for name in _WRITERS):
            continue
        statement = program.statement(call.node)
        writers = {thing for thing in call.result.things if isinstance(thing, Foreign)}
        if not isinstance(statement, ast.Assign) or statement.value is not call.node or not writers:
            continue
        if _left_to_worker_zero(program, writers):
            source = program.home(call.node)
            end = source.span(call.node)[1]
            yield call, Edit(end, end, f" if {program.runtime}.rank() == 0 else None", source.path)


def _left_to_worker_zero(program: Program, writers: set[Foreign]) -> bool:
    """Whether worker 0 alone reaches into a writer, no test hangs on it, and nobody else is handed it."""
    for node, values in program.facts.values.items():
        if not any(writers & value.things for value in values.values()) or node not in program.parents:
            continue
        parent = program.parents[node]
        places = program.places(program.statement(node))
        if isinstance(parent, ast.Attribute) and not all(place.alone for place in places):
            return False
        if isinstance(parent, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.withitem | ast.Subscript):
            return False
        if isinstance(parent, _TESTS) and parent.test is node:
            return False
        if isinstance(parent, ast.Call) and parent.func is not node and not _followed(program, parent):
            return False
    return True


def _followed(program: Program, node: ast.Call) -> bool:
    """Whether a call leads into code that is followed."""
    return any(node in call.place.context for call in program.all_calls) or any(
        node in place.context for places in program.facts.places.values() for place in places.values()
    )
