"""What is unpacked from a packed sequence is padded to the longest sample of the batch, not of a worker's slice."""

from __future__ import annotations

import ast

from hora.convert import padding
from hora.convert.edits import Edit, argument, insert_before, replace
from hora.convert.program import Program
from hora.convert.sequences import NAME, UNPACK
from hora.convert.values import Loader, plain


def shortened(program: Program) -> dict[ast.Call, list[Edit] | None]:
    """Give the calls that pad to the longest of a slice, with the edits that mend it; None where it cannot be said.

    One worker pads to what was the longest when the batch was put together, as each worker does with its samples of it.
    """
    found: dict[ast.Call, list[Edit] | None] = {}
    names: dict[ast.Call, str] = {}
    for call in program.calls_of(UNPACK):
        given = dict(call.keywords)
        loaders = [one for value in call.args[:1] for one in value.spread.loaders if isinstance(one, Loader)]
        if "total_length" in given or len(call.args) > 3 or not loaders or not isinstance(call.node, ast.Call):
            continue
        given_to = [program.facts.given[plain(one)] for one in loaders]
        if call.node not in found and all(padding.pads(one, program.facts.bindings) for one in given_to):
            found[call.node] = _lengthened(program, call.node, names)
        else:
            found.setdefault(call.node, None)
    return found


def _lengthened(program: Program, call: ast.Call, names: dict[ast.Call, str]) -> list[Edit] | None:
    """Pad to the length that the sequences had before they were packed, in the same function."""
    function = program.scope(call)
    packs = [
        one.node
        for one in program.calls_of(f"{NAME}pack_padded_sequence")
        if program.scope(one.node) is function and one.node.lineno <= call.lineno
    ]
    if len(set(packs)) != 1 or not packs[0].args:
        return None
    pack, edits = packs[0], []
    source, padded = program.home(pack), pack.args[0]
    first = [one.value for one in pack.keywords if one.arg == "batch_first"] + pack.args[2:3]
    if not all(isinstance(one, ast.Constant) for one in first):
        return None
    axis = 1 if any(isinstance(one, ast.Constant) and one.value for one in first) else 0
    if pack not in names:
        names[pack] = program.fresh("longest", "longest_of_batch")
        lines, text = [], source.segment(padded)
        if not all(isinstance(one, ast.Name | ast.Attribute | ast.expr_context) for one in ast.walk(padded)):
            name = program.fresh("padded", "padded_batch")
            lines, text = [f"{name} = {text}"], name
            edits.append(replace(source, padded, name))
        lines.append(f"{names[pack]} = {text}.size({axis})")
        edits.append(insert_before(source, program.statement(pack), lines))
    return [*edits, argument(program.home(call), call, f"total_length={names[pack]}")]
