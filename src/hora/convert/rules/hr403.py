"""HR403: decisions are taken on the global value, alike on all workers."""

from __future__ import annotations

import ast

from hora.convert import decisions
from hora.convert.facts import Event
from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.spread import Kind, Reason
from hora.convert.values import plain

CODE = "HR403"
TITLE = "decisions are taken on the global value, alike on all workers"
WHY = "One worker leaves the loop on its own loss, and the others wait for it until the job is killed."

_TOGETHER = ("collective", "backward", "step")
_LEAVING = ("break", "continue", "return", "exit")


def detect(program: Program) -> list[Finding]:
    """Find decisions on a worker's own value that change what is trained."""
    findings: dict[Finding, None] = {}
    reasons: dict[ast.AST, tuple[Reason, ast.AST]] = {}
    for event in program.events:
        if event.place.control.alike or event.place.alone:
            continue
        if event.what in _TOGETHER or (event.what in _LEAVING and _parts(program, event)):
            why = event.place.control.why
            message = f"workers may part here: {why.message if why else 'each decides for itself'}"
            findings[program.finding(CODE, event.node, message, None)] = None
            if (own := decisions.reason(event.place)) is not None:
                reasons[own.node] = own, event.node
    for escape in program.facts.escapes.values():
        if escape.decides and all(value.spread.kind is Kind.OWN for _, value in escape.parts):
            message = f"a value that each worker has for itself {escape.use}"
            findings[program.finding(CODE, escape.node, message, None)] = None
            reasons |= {
                value.spread.why.node: (value.spread.why, escape.node)
                for _, value in escape.parts
                if value.spread.why is not None and value.spread.why.code == CODE
            }
    found = [
        one for one in (decisions.taken_from_worker_0(program, *why) for why in reasons.values()) if one is not None
    ]
    if found:
        return [
            program.finding(CODE, node, "a decision hangs on what each worker works out for itself", edits)
            for node, edits in found
        ]
    return list(findings)


def _parts(program: Program, event: Event) -> bool:
    """Whether what a worker leaves has something in it that all do together."""
    if event.what == "exit":
        return True
    place = event.place
    others = [one.place for one in program.events if one.what in _TOGETHER]
    together = program.training_loaders | program.dealt
    others += [draw.place for draw in program.facts.draws.values() if {plain(one) for one in draw.loaders} & together]
    for other in others:
        inside = other.context[: len(place.context)] == place.context
        if event.what in ("break", "continue"):
            inside = inside and place.loops[-1:] != () and place.loops[-1] in other.loops
        if inside:
            return True
    return False
