"""HR304: a mean over a count that differs by worker uses the global count."""

from __future__ import annotations

import ast

from hora.convert import padding
from hora.convert.counts import criterion_of, mended
from hora.convert.edits import argument
from hora.convert.finding import Finding
from hora.convert.losses import broken
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.streams import over_streams
from hora.convert.unpacking import shortened
from hora.convert.values import Loader, plain

CODE = "HR304"
TITLE = "a mean over a count that differs by worker uses the global count"
WHY = "The mean of two means over 3 and 97 entries weighs the 3 as much as the 97."


def detect(program: Program) -> list[Finding]:
    """Find losses that divide by a number of entries that differs between workers, and batches that are padded."""
    found: dict[ast.AST, Finding] = {}
    for backward in program.backwards:
        refusal = broken(program, backward)
        if refusal is None or refusal[0] != CODE:
            continue
        _, message, node = refusal
        # One criterion is mended at all its calls together.
        key = criterion_of(program, node) or node
        found.setdefault(key, program.finding(CODE, node, message, mended(program, node)))
    return [*found.values(), *_padded(program), *_unpacked(program)]


def _padded(program: Program) -> list[Finding]:
    """Find dealt loaders whose samples are padded to the longest of them."""
    message = "the samples may be padded to the longest of a worker's slice, which differs from that of the batch"
    findings = []
    for loader in sorted(program.facts.loaders, key=program.number):
        if not padding.pads(program.facts.given[loader], program.facts.bindings) or over_streams(program, loader):
            continue
        deals = [
            call
            for call in program.calls_of(f"{NAME}.deal")
            if any(isinstance(thing, Loader) and plain(thing) == loader for thing in call.result.things)
        ]
        if deals:
            edits = [
                argument(program.home(call.node), call.node, 'collate="batch"')
                for call in deals
                if "collate" not in {name for name, _ in call.keywords}
            ]
            if edits:
                findings.append(program.finding(CODE, deals[0].node, message, edits))
        elif loader in program.training_loaders:
            findings.append(program.finding(CODE, loader.site, message, None))
    return findings


def _unpacked(program: Program) -> list[Finding]:
    """Find packed sequences that are unpacked to the longest of a worker's slice."""
    message = "it is padded to the longest of a worker's slice, which differs from that of the batch"
    return [program.finding(CODE, node, message, edits) for node, edits in shortened(program).items()]
