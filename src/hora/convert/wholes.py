"""Sums and means over the batch that go into something else than a sum of losses: the workers reduce them there.

``hvd.allreduce`` is differentiable, and so is ``total``: its gradient is reduced as its value is. What is worked out
from the global value, alike on all workers, has then the gradient of the global batch, in whatever way it is worked
out.
"""

from __future__ import annotations

import ast

from hora.convert.counting import adder
from hora.convert.edits import Edit, surround
from hora.convert.metrics import loaders_of
from hora.convert.naming import loader
from hora.convert.products import TIGHT
from hora.convert.program import Program
from hora.convert.spread import ENTRIES, Kind
from hora.convert.values import Class, Function, Instance, Loader, plain


def reduced(program: Program, node: ast.AST) -> list[Edit] | None:
    """Reduce the sums and means over the batch that an operation of a loss takes.

    Parameters
    ----------
    program
        The script.
    node
        The operation: of two values, or a call that is not of a function of the script.

    Returns
    -------
    list of Edit or None
        None where it takes none, or anything that is not followed; where not all workers come there together with a
        batch to train on; where the loader of the batch has no name.
    """
    edits: list[Edit] = []
    for part in _parts(program, node):
        kinds = {program.deep(value).kind for value in program.values(part)}
        if kinds <= {Kind.ALIKE, Kind.ZERO, Kind.WHOLE, Kind.COUNT, *ENTRIES}:
            continue
        # What each worker evaluates for itself is left as it is where no gradients are recorded, which `adder` sees to.
        if kinds - {Kind.OWN} == {Kind.SUM}:
            add = adder(program, part, ahead=True)
            if add is None:
                return None
            edits += surround(program.home(part), part, f"{add}(", ")")
            continue
        name = _loader(program, part)
        if name is None or kinds != {Kind.MEAN}:
            return None
        before, after = ("", "") if isinstance(part, TIGHT) else ("(", ")")
        call = f"{program.runtime}.allreduce({before}"
        edits += surround(program.home(part), part, call, f"{after} * {name}.weight)")
    return edits or None


def _parts(program: Program, node: ast.AST) -> list[ast.expr]:
    """Give what an operation takes; nothing where it is none, or a function of the script."""
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if not isinstance(node, ast.Call) or any(isinstance(one, ast.Starred) for one in node.args):
        return []
    things = [thing for value in program.values(node.func) for thing in value.things]
    if any(isinstance(thing, Function | Class | Instance) for thing in things):
        return []
    receiver = [node.func.value] if isinstance(node.func, ast.Attribute) else []
    return [*receiver, *node.args, *(keyword.value for keyword in node.keywords)]


def _loader(program: Program, part: ast.expr) -> str | None:
    """Give the one expression that names the loader of a value's batch, on all ways that lead there."""
    names: set[str | None] = set()
    for context, value in program.facts.values.get(part, {}).items():
        place = program.facts.places.get(program.statement(part), {}).get(context)
        loaders = frozenset(one for one in loaders_of(program.deep(value)) if isinstance(one, Loader))
        trains = bool(loaders) and {plain(one) for one in loaders} <= program.training_loaders
        if place is None or not place.control.alike or place.alone or not trains:
            return None
        loop = next((one for one, inside in reversed(place.loops) if inside == place.context), None)
        names.add(loader(program, loaders, place, [loop.iter] if isinstance(loop, ast.For) else []))
    return names.pop() if len(names) == 1 else None
