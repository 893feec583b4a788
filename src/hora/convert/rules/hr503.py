"""HR503: noise drawn for a batch is sliced, not repeated."""

from __future__ import annotations

import ast

from hora.convert import noise, partners
from hora.convert.counting import unrecorded
from hora.convert.edits import Edit, surround
from hora.convert.finding import Finding
from hora.convert.imports import named
from hora.convert.losses import refusals
from hora.convert.metrics import inside_evaluation
from hora.convert.networks import is_module
from hora.convert.program import Program
from hora.convert.seeds import may_part, part, seeded, streams
from hora.convert.values import Instance

CODE = "HR503"
TITLE = "noise drawn for a batch is sliced, not repeated"
WHY = "Seeded alike, N workers draw the same noise N times, and the global batch has 1/N of the noise it should."

_ALIKE = "the seed makes all workers draw the same noise for their slices"


def detect(program: Program) -> list[Finding]:
    """Find noise in the training step that is alike on all workers, or makes the batch's loss a worker's own."""
    findings = [_one_draw(program, finding) for finding in refusals(program, CODE)]
    training = _steps(program)
    one = next(noise.draws(program, training), None)
    if one is not None:
        message = "the noise of the batch is drawn on each worker for itself: it is not what one worker would draw"
        findings.append(program.finding(CODE, one.node, message, noise.sliced(program, one)))
        return findings
    if not program.facts.seeded:
        return findings
    together: dict[tuple[ast.stmt, str], ast.AST] = {}
    shuffles = partners.draws(program)
    for (node, _), place in program.facts.noise.items():
        if not training & {loop for loop, _ in place.loops} or noise.sent(program, node) or node in shuffles:
            continue
        stream = next(iter(streams(program, node)), None)
        if stream is not None and seeded(program, stream, apart=True):
            continue
        loop = place.loops[0][0]
        may = stream is not None and may_part(program, loop)
        if _in_network(program, node) and not (may and program.parting):
            message = "seeded alike, the workers draw the same noise for their slices: right on average"
            findings.append(program.finding(CODE, node, message, ()))
        elif stream is None or not isinstance(loop, ast.stmt) or not may:
            findings.append(program.finding(CODE, node, _ALIKE, None))
        else:
            together.setdefault((loop, stream), node)
    findings += [
        program.finding(CODE, node, _ALIKE, part(program, loop, stream)) for (loop, stream), node in together.items()
    ]
    return list(dict.fromkeys(findings))


def _steps(program: Program) -> frozenset[ast.AST]:
    """Give the loops over the steps of the training."""
    backwards = [one.place.loops for one in program.backwards if one.place.loops]
    if not program.training_draws:
        # Batches that are cut by hand may be dealt before the loop.
        return frozenset(loops[-1][0] for loops in backwards)
    around = {loop for loops in backwards for loop, _ in loops}
    return frozenset(draw.place.loops[-1][0] for draw in program.training_draws) & around


def _one_draw(program: Program, finding: Finding) -> Finding:
    """Let worker 0 draw for all what the step of all hangs on, where a call of the script draws it."""
    for node in (calls[0].node for calls in program.calls_by_node.values()):
        looks = _looks(program, node)
        if looks is None:
            continue
        if not streams(program, node) & {"torch", "numpy", "random"}:
            continue
        here = program.finding(CODE, node, finding.message, None)
        if (here.line, here.column) == (finding.line, finding.column) and getattr(node.func, "attr", "") != "shuffle":
            before, after = f"{program.runtime}.broadcast_object(", ", root_rank=0)"
            source, imports = program.home(node), list[Edit]()
            if looks:
                torch, imports = named(source, "torch")
                before, after = f"({before}", f"{after} if {torch}.is_grad_enabled() else {source.segment(node)})"
            return program.finding(CODE, node, finding.message, [*imports, *surround(source, node, before, after)])
    return finding


def _looks(program: Program, node: ast.Call) -> bool | None:
    """Whether a call is made in evaluation, too, where not every worker comes by as often.

    None where it cannot be told there that it is evaluation, as gradients are recorded or nothing tells.
    """
    calls = [call for call in program.calls_by_node[node] if inside_evaluation(program, call.place)]
    if not calls:
        return False
    again = next(program.calls_of("torch.utils.checkpoint.checkpoint"), None)
    told = again is None and all(unrecorded(program, node, call.place.context) for call in calls)
    return True if told else None


def _in_network(program: Program, node: ast.AST) -> bool:
    """Whether a node is in the class of a network."""
    networks = {
        cls.node
        for one in program.facts.made
        if isinstance(one, Instance) and is_module(one)
        for cls in one.cls.lineage
    }
    return any(one in networks for one in program.ancestors(node))
