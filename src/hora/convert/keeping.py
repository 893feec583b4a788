"""Lists that a training loop keeps the samples' own values in, such as labels and predictions for a final score."""

from __future__ import annotations

import ast

from hora.convert.edits import Edit, surround
from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.metrics import loaders_of
from hora.convert.naming import loader
from hora.convert.program import Program
from hora.convert.spread import EARLIER, Kind
from hora.convert.values import Box, Loader, Method, Value

_MESSAGE = "what is kept of each batch is of the worker's slice, and is read as if it were of all its samples"


def gathered_where_kept(program: Program) -> list[Finding]:
    """Gather the entries of all samples where a loop keeps them in a list, if such lists are read as if whole."""
    if not any(_reads_kept(program, value) for one in program.facts.escapes.values() for _, value in one.parts):
        return []
    found = []
    for call in program.all_calls:
        edits = _gathered(program, call)
        if edits is not None:
            found.append(program.finding("HR601", call.node, _MESSAGE, edits))
    return found


def _reads_kept(program: Program, value: Value) -> bool:
    """Whether a value is made of what was kept of earlier batches."""
    why = program.deep(value).why
    return why is not None and why.message == EARLIER


def _gathered(program: Program, call: Call) -> list[Edit] | None:
    """Gather what a call keeps in a list; None where it keeps no entries of samples, or not all workers come there."""
    node = call.node
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in ("append", "extend") or len(node.args) != 1:
        return None
    if not any(isinstance(one, Method) and isinstance(one.receiver, Box) for one in call.function.things):
        return None
    kept = node.args[0]
    if any(not value.number for value in program.values(kept)):
        # What is kept with its graph may be trained through.
        return None
    return gathered(program, kept, node)


def gathered(program: Program, node: ast.expr, call: ast.Call) -> list[Edit] | None:
    """Gather the entries of all samples where a part of a call gives the worker's; None where it gives none.

    Every worker has to come there with a batch to train on.
    """
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "tolist":
        node = node.func.value
    names = {_name(program, node, visit) for visit in program.calls_by_node[call]}
    name = names.pop() if len(names) == 1 else None
    return surround(program.home(node), node, f"{name}.gather(", ")") if name is not None else None


def _name(program: Program, kept: ast.expr, call: Call) -> str | None:
    """Give the expression for the loader whose samples' entries are kept; None where they are none, or kept by some."""
    value, place = program.value(kept, call.place.context), call.place
    if value is None or value.spread.kind is not Kind.ROWS or value.spread.axis != 0:
        return None
    loaders = frozenset(one for one in loaders_of(value.spread) if isinstance(one, Loader))
    alike = place.control.alike and not place.alone
    if not alike or not loaders or not all(one.dealt == "training" for one in loaders):
        return None
    loop = next((one for one, context in reversed(place.loops) if context == place.context), None)
    return loader(program, loaders, place, [loop.iter] if isinstance(loop, ast.For) else [])
