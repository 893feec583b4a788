"""HR601: metrics are reduced with their counts."""

from __future__ import annotations

import ast

from hora.convert.edits import Edit, insert_after, insert_before, replace
from hora.convert.facts import KEPT, SHOWN, Escape
from hora.convert.finding import Finding
from hora.convert.gathered import gathered_where_printed, gathered_where_worked_out
from hora.convert.keeping import gathered_where_kept
from hora.convert.losses import all_followed
from hora.convert.metrics import dealt, for_evaluation, handed_in, loaders_of, totals, unweighed
from hora.convert.naming import loader
from hora.convert.program import Program
from hora.convert.readings import Reading, readings
from hora.convert.rules.hr206 import held, weighed
from hora.convert.spread import Kind

CODE = "HR601"
TITLE = "metrics are reduced with their counts"
WHY = "A sum over a worker's slice, divided by the size of the data set, is off by a factor of N."

BORROWED = "a worker without samples of its own, which takes its step with borrowed ones, counts these"


def detect(program: Program) -> list[Finding]:
    """Find sums and means over a worker's slice that are read as if they were global."""
    if not all_followed(program):
        return []
    return (
        _weigh(program)
        or _reduce_after(program)
        or _reduce_where_read(program)
        or gathered_where_kept(program)
        or gathered_where_worked_out(program)
        or gathered_where_printed(program)
        or (_reduce_where_handed(program) if _refuse(program) else [])
        or _refuse(program)
    )


def blocked(program: Program) -> frozenset[int]:
    """Give the evaluation loaders whose metrics cannot be reduced, by the order of their calls."""
    return frozenset(
        program.number(loader)
        for escape in program.facts.escapes.values()
        for _, value in escape.parts
        if for_evaluation(program.deep(value))
        for loader in loaders_of(program.deep(value))
    )


def _weigh(program: Program) -> list[Finding]:
    """Weigh the means that are added up over batches, and leave borrowed samples out of counts and sums."""
    names: dict[ast.expr, set[tuple[str | None, bool]]] = {}
    for statement, term, spread, place in unweighed(program):
        loop = next((loop for loop, context in reversed(place.loops) if context == place.context), None)
        near = [loop.iter] if isinstance(loop, ast.For) else []
        name = loader(program, loaders_of(spread), place, near)
        if name is not None and not name.startswith("self.") and handed_in(program, statement, term):
            # A meter knows no loader: what it is handed is reduced before.
            name = None
        names.setdefault(term, set()).add((name, spread.kind is Kind.MEAN))
        if len(program.values(term)) != len([v for v in program.values(term) if dealt(v.spread)]):
            names[term].add((None, False))
    findings = []
    for term, found in names.items():
        name, mean = found.pop() if len(found) == 1 else (None, False)
        if name is None:
            continue
        message = "a mean over the slice is added up without its weight" if mean else BORROWED
        edits = weighed(program, term, name) if mean else held(program, term, name)
        findings.append(program.finding(CODE, term, message, edits))
    return findings


def _reduce_after(program: Program) -> list[Finding]:
    """Reduce what a loop has added up after the loop."""
    lines: dict[ast.stmt, dict[str, ast.AST]] = {}
    hvd = program.runtime
    for total in totals(program):
        how = f", op={hvd}.Sum" if total.additive else ""
        lines.setdefault(total.loop, {})[f"{total.text} = {hvd}.allreduce({total.text}{how})"] = total.node
    message = "what a worker has added up is read as if it were all"
    return [
        program.finding(CODE, next(iter(sums.values())), message, [insert_after(program.home(loop), loop, list(sums))])
        for loop, sums in lines.items()
    ]


def _reduce_where_read(program: Program) -> list[Finding]:
    """Reduce values where they are read."""
    kept = _planned(program, kept=True)
    in_place = {reading.base for reading in kept.values() if reading.in_place}
    read = _planned(program, kept=False) if in_place or not kept else {}
    # What is read of a list comes after what is put there: once that is the global value, so is what is read. But what
    # takes the place of what it was is reduced where it is read first.
    early = {node: reading for node, reading in read.items() if reading.in_place and reading.base in in_place}
    return _reduced(program, {**early, **kept} if kept else read)


def _planned(program: Program, *, kept: bool) -> dict[ast.expr, Reading]:
    """Give how values are reduced where they are put in a list, or where they are read otherwise."""
    escapes = [one for one in program.facts.escapes.values() if (one.use == KEPT) is kept]
    return {reading.node: reading for escape in escapes for reading in readings(program, escape) or ()}


def _reduce_where_handed(program: Program) -> list[Finding]:
    """Reduce means where they are handed to an object that adds them up, as a meter does."""
    plan: dict[ast.expr, Reading] = {}
    for statement, term, spread, place in unweighed(program):
        value = program.value(term, place.context)
        if spread.kind is Kind.MEAN and value is not None and handed_in(program, statement, term):
            handed = Escape(term, ((term, value),), KEPT, place)
            plan |= {reading.node: reading for reading in readings(program, handed, inner=False) or ()}
    return _reduced(program, plan)


def _reduced(program: Program, plan: dict[ast.expr, Reading]) -> list[Finding]:
    """Reduce values by a plan."""
    message = "a value of the worker's slice is read as if it were all"
    ordered = sorted(plan.values(), key=lambda one: (one.node.lineno, one.node.col_offset))
    findings: list[Finding] = []
    given: list[tuple[ast.stmt, str, str]] = []
    for reading in ordered:
        earlier = _known(program, reading) or next(
            (name for anchor, line, name in given if line == reading.line and _follows(program, anchor, reading)), None
        )
        edits: list[Edit] = []
        name = earlier or (reading.base if reading.in_place else _fresh(program, reading, given))
        if earlier is None:
            given.append((reading.anchor, reading.line, name))
            edits.append(insert_before(program.home(reading.anchor), reading.anchor, [reading.line.format(name=name)]))
        if not reading.in_place:
            edits.append(replace(program.home(reading.node), reading.node, name))
        if edits:
            findings.append(program.finding(CODE, reading.node, message, edits))
    return findings


def _known(program: Program, reading: Reading) -> str | None:
    """Give the name that the same value was given when it was reduced before, in the same turn of a loop."""
    asked = ast.parse(reading.line.format(name="_")).body[0]
    for one in (one for block in program.before(reading.anchor) for one in block if not reading.in_place):
        if isinstance(one, ast.Assign) and isinstance(asked, ast.Assign) and isinstance(one.targets[0], ast.Name):
            if ast.dump(one.value) == ast.dump(asked.value) and _follows(program, one, reading):
                return one.targets[0].id
    return None


def _fresh(program: Program, reading: Reading, given: list[tuple[ast.stmt, str, str]]) -> str:
    """Give a new name for a reduced value; the same where the same is reduced elsewhere."""
    same = next((name for _, line, name in given if line == reading.line), None)
    if same is not None:
        return same
    taken = {name for _, _, name in given}
    stem = reading.base.partition("_")[2]
    candidates = (reading.base, f"global_{stem}", *(f"{reading.base}_{number}" for number in range(2, 100)))
    return next(name for name in candidates if name not in taken and name not in program.names)


def _follows(program: Program, anchor: ast.stmt, reading: Reading) -> bool:
    """Whether a reading comes after another of the same, in one block, with nothing of it set in between."""
    block = program.block(anchor)
    start = block.index(anchor)
    chain = [reading.anchor, *(one for one in program.ancestors(reading.anchor) if isinstance(one, ast.stmt))]
    places = [block.index(one) for one in chain if one in block]
    if not places or places[0] < start:
        return False
    used = {node.id for node in ast.walk(reading.node) if isinstance(node, ast.Name)}
    return not any(
        isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in used
        for statement in block[start : places[0]]
        for node in ast.walk(statement)
    )


def _refuse(program: Program) -> list[Finding]:
    """Refuse what is neither a sum nor a mean."""
    findings: dict[Finding, None] = {}
    tests = {
        node
        for one in program.facts.escapes.values()
        if one.decides
        for part, _ in one.parts
        for node in ast.walk(part)
    }
    for escape in program.facts.escapes.values():
        for part, value in escape.parts if escape.node not in tests and escape.use != SHOWN else ():
            spread = program.deep(value)
            if not dealt(spread) or not spread.local:
                continue
            code = "HR403" if escape.decides else CODE
            why = f" ({spread.why.message})" if spread.why else ""
            text = " ".join(program.home(part).segment(part).split())
            text = text if len(text) <= 60 else f"{text[:57]}..."
            message = f"'{text}' is {spread.kind.value}{why}, of the worker's slice alone, and {escape.use}"
            findings[program.finding(code, escape.node, message, None)] = None
    return list(findings)
