"""HR207: every use of the batch size follows."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator

from hora.convert import evenness, full, noise, prepared
from hora.convert.edits import Edit, replace
from hora.convert.finding import Finding
from hora.convert.losses import broken
from hora.convert.program import Program

CODE = "HR207"
TITLE = "every use of the batch size follows"
WHY = "Labels, noise or hidden states made for the whole batch do not fit a slice of it, or train N times as many."


def detect(program: Program) -> list[Finding]:
    """Find losses that use the batch size that the loader was given, or the first entries of what all hold alike."""
    found: dict[Finding, None] = {}
    for node, message in dict.fromkeys([*_broken(program), *_altered(program), *_beside(program)]):
        edits = _own_entries(program, node) or full.counted(program, node) or prepared.taken(program, node)
        found[program.finding(CODE, node, message, edits)] = None
    return _each_once(list(found))


def _broken(program: Program) -> Iterator[tuple[ast.AST, str]]:
    """Give where losses break this rule, and how."""
    for backward in program.backwards:
        refusal = broken(program, backward)
        if refusal is not None and refusal[0] == CODE:
            yield refusal[2], refusal[1]


def _altered(program: Program) -> Iterator[tuple[ast.AST, str]]:
    """Give where the first entries are taken of what was made alike in all entries and is no longer."""
    for (node, _), made in program.facts.uniform.items():
        if made in program.facts.altered:
            yield node, "as many entries as the slice has samples are taken from what all workers hold alike"


def _beside(program: Program) -> Iterator[tuple[ast.AST, str]]:
    """Give what else uses the batch size in steps that raise where the batch is not full.

    It is mended together with what makes the step raise, which shows no longer afterwards that batches are full.
    """
    broken = {node for node, _ in _broken(program)}
    for loop in evenness.loops(program):
        if not evenness.raises(program, loop):
            continue
        uses = {node: why for why in full.uses(program, loop) for node in (why.node,)}
        if broken & uses.keys():
            yield from ((node, why.message) for node, why in uses.items())


def _each_once(findings: list[Finding]) -> list[Finding]:
    """Give findings of which none makes an edit that another makes."""
    seen: set[Edit] = set()
    result: list[Finding] = []
    for finding in findings:
        edits = None if finding.edits is None else tuple(one for one in finding.edits if one not in seen)
        seen |= set(edits or ())
        if edits or not finding.edits:
            result.append(dataclasses.replace(finding, edits=edits))
    return result


def _own_entries(program: Program, node: ast.AST) -> list[Edit] | None:
    """Take the entries that belong to the worker's samples, and not the first ones; None where they are not to be seen.

    ``targets[:n]`` of what was made for the whole batch is ``targets[loader.first : loader.first + n]`` for a slice.
    """
    if not isinstance(node, ast.Subscript):
        return None
    index = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice
    if not isinstance(index, ast.Slice) or index.lower is not None or index.step is not None or index.upper is None:
        return None
    found: set[str] = set()
    for way in program.places(program.statement(node)):
        value = program.value(index.upper, way.context)
        loop = next((draw.node for draw in program.training_draws if draw.place.loops[-1] in way.loops), None)
        loader = noise.loader_of(program, index.upper, way)
        if value is None or not value.spread.exact or loop is None or loader is None:
            return None
        found.add(loader)
    if len(found) != 1 or _collated(program):
        return None
    (loader,) = found
    source = program.home(node)
    return [replace(source, index, noise.own_entries(loader, source.segment(index.upper)))]


def _collated(program: Program) -> bool:
    """Whether the script puts its batches together by itself, and may lay the samples along another axis."""
    given = [program.facts.given[loader] for loader in program.training_loaders]
    return any(one.get(6, "collate_fn") is not None for one in given)
