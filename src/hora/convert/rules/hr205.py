"""HR205: batches made by hand are sliced from one global draw."""

from __future__ import annotations

import ast

from hora.convert.edits import Edit, argument, insert_after, insert_before, parameter, replace, surround
from hora.convert.facts import Backward
from hora.convert.finding import Finding
from hora.convert.imports import added, binds_torch, of_torch
from hora.convert.losses import BY_HAND, broken
from hora.convert.networks import is_module
from hora.convert.program import Program, names_in, set_in
from hora.convert.rules.chunks import Chunks, chunked
from hora.convert.rules.columns import Columns, columns
from hora.convert.rules.drawn import Drawn, drawn, sender
from hora.convert.rules.hr201 import scaling
from hora.convert.values import Criterion, Foreign, Instance, Module, Named, Value

CODE = "HR205"
TITLE = "batches made by hand are sliced from one global draw"
WHY = "Drawn on each worker for itself, the same samples are trained on N times and others never."

_MESSAGE = "every worker trains on all of this data"
_TIME_FIRST = (
    "LSTM",
    "GRU",
    "RNN",
    "Transformer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "MultiheadAttention",
)


def detect(program: Program) -> list[Finding]:
    """Find batches that no DataLoader hands out."""
    findings: list[Finding] = []
    done: set[ast.AST] = set()
    for backward in program.backwards:
        refusal = broken(program, backward)
        if refusal is None or refusal[0] != CODE:
            continue
        loop = _loop(program, backward)
        if loop in done:
            continue
        alike = backward.value.spread.alike
        edits = _sliced(program, backward, loop) if loop is not None and alike else None
        if loop is not None and edits is not None:
            done.add(loop)
        message = BY_HAND if edits is None else _MESSAGE
        findings.append(program.finding(CODE, refusal[2], message, edits))
    return findings


def _loop(program: Program, backward: Backward) -> ast.For | ast.While | None:
    """Give the innermost loop around a backward pass, where it stands in the same function."""
    for loop, context in reversed(backward.place.loops):
        # A closure stands in the loop that hands it to the optimizer.
        inside = context == backward.place.context or backward.node in set(ast.walk(loop))
        if inside and isinstance(loop, ast.For | ast.While):
            return loop
    return None


def _sliced(program: Program, backward: Backward, loop: ast.For | ast.While) -> list[Edit] | None:
    """Deal the rows of what a loop trains on; None where that is not to be seen."""
    walked = columns(program, loop, _region(program, loop))
    if walked is not None:
        return None if _dealt_already(program) or program.weak else _dealt_columns(program, walked)
    places = drawn(program, backward, _outermost(program, loop))
    if places is not None:
        return None if _dealt_already(program) else _dealt_draws(program, places)
    if _time_first(program):
        return None
    chunks = chunked(program, loop)
    if chunks is not None:
        return _dealt_chunks(program, loop, chunks)
    rows = sorted(_rows(program, loop, backward))
    outer = _outermost(program, loop)
    if not rows or _dealt_already(program) or set_in(outer).intersection(rows):
        return None
    own, batches = program.fresh("own", "mine"), program.fresh("batches", "dealt")
    names = {name: program.fresh(f"own_{name}") for name in rows}
    edits = _dealt(program, outer, batches, f"len({rows[0]})", f"len({rows[0]})", [
        f"{own} = next(iter({batches}))",
        f"{', '.join(names.values())} = {', '.join(f'{name}[{own}]' for name in rows)}",
    ])  # fmt: skip
    for node in ast.walk(loop):
        if isinstance(node, ast.Name) and node.id in names and isinstance(node.ctx, ast.Load):
            edits.append(replace(program.home(node), node, names[node.id]))
    return edits


def _region(program: Program, loop: ast.stmt) -> list[ast.stmt]:
    """Give the statements of the function that a loop is in, or the outermost loop around it."""
    function = next((one for one in program.ancestors(loop) if isinstance(one, ast.FunctionDef)), None)
    return function.body if function is not None else [_outermost(program, loop)]


def _dealt_columns(program: Program, walked: Columns) -> list[Edit]:
    """Deal the columns of a text before the statements that walk along it."""
    own, name = program.fresh("own", "mine"), program.fresh("columns", "dealt")
    mine = program.fresh(f"own_{walked.name}")
    changed = {*walked.reads, *walked.sizes}
    anchor = next(one for one in walked.region if changed & {*ast.walk(one)})
    count = f"{walked.name}.size({walked.axis})"
    picked = f"{walked.name}[{':, ' * walked.axis}{own}]"
    edits = _dealt(program, anchor, name, count, count, [f"{own} = next(iter({name}))", f"{mine} = {picked}"])
    edits += [replace(program.home(node), node, mine) for node in walked.reads]
    return edits + [replace(program.home(node), node, f"{mine}.size({walked.axis})") for node in walked.sizes]


def _dealt_draws(program: Program, places: Drawn) -> list[Edit]:
    """Let worker 0 draw the places of a batch's samples for all, each of which takes its own."""
    own, batches = program.fresh("own", "mine"), program.fresh("batches", "dealt")
    size = program.home(places.size).segment(places.size)
    edits = _dealt(program, places.anchor, batches, size, size, [f"{own} = next(iter({batches}))"])
    for place in places.places:
        before, after = f"{program.runtime}.{sender(program, place)}(", f", root_rank=0)[{own}]"
        edits += surround(program.home(place), place, before, after)
    if places.function is not None:
        edits.append(parameter(program.home(places.function), places.function, own))
        edits += [argument(program.home(call), call, f"{own}={own}") for call in places.calls]
    return edits


def _dealt_chunks(program: Program, loop: ast.For | ast.While, chunks: Chunks) -> list[Edit] | None:
    """Deal the places of the samples in the order in which a loop cuts its data."""
    assert isinstance(loop, ast.For)
    own, batches = program.fresh("own", "mine"), program.fresh("batches", "dealt")
    outer = _outermost(program, loop)
    used = {node.id for part in (chunks.count, chunks.size) for node in ast.walk(part) if isinstance(node, ast.Name)}
    anchor = loop if set_in(outer) & used else outer
    source = program.home(loop)
    edits = _dealt(program, anchor, batches, chunks.text(source), source.segment(chunks.size), [])
    edits += [replace(source, place, own) for place in chunks.slices]
    if chunks.numbered:
        edits.append(replace(source, loop.target, f"{source.segment(loop.target)}, {own}"))
        edits.append(replace(source, loop.iter, f"zip({source.segment(loop.iter)}, {batches})"))
    else:
        edits.append(replace(source, loop.target, own))
        edits.append(replace(source, loop.iter, batches))
    return edits


def _dealt(program: Program, anchor: ast.stmt, name: str, count: str, size: str, more: list[str]) -> list[Edit]:
    """Deal the places of samples before a loop."""
    source = program.home(anchor)
    whole = binds_torch(source.tree) and "DataLoader" not in names_in(source.tree)
    maker = "torch.utils.data.DataLoader" if whole else "DataLoader"
    line = f"{name} = {program.runtime}.deal({maker}(range({count}), batch_size={size}){scaling(program)})"
    edits = [insert_before(source, anchor, [line, *more])]
    if maker not in names_in(source.tree) and not whole:
        line = "from torch.utils.data import DataLoader"
        imports = [one for one in source.tree.body if isinstance(one, ast.Import | ast.ImportFrom) and of_torch(one)]
        edits.append(insert_after(source, imports[-1], [line]) if imports else added(source, line))
    return edits


def _dealt_already(program: Program) -> bool:
    """Whether the places of samples are dealt in the script as it stands."""
    given = (loader.site.args[:1] for loader in program.facts.loaders if isinstance(loader.site, ast.Call))
    return any(isinstance(one, ast.Call) and ast.unparse(one.func) == "range" for args in given for one in args)


def _outermost(program: Program, loop: ast.stmt) -> ast.stmt:
    """Give the outermost loop around a loop, in the same function."""
    here = loop
    for outer in program.ancestors(loop):
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            break
        if isinstance(outer, ast.For | ast.While):
            here = outer
    return here


def _rows(program: Program, loop: ast.stmt, backward: Backward) -> set[str]:
    """Give the names from outside of a loop whose tensors go into the networks and losses of a backward pass."""
    found: set[str] = set()
    made, within = _made_of(loop, backward.loss), set_in(loop)
    for node in (inner for one in made for inner in ast.walk(one)):
        parts: list[ast.expr] = []
        if isinstance(node, ast.Call):
            parts = _given(program, node)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
            parts = [node.left, node.right]
        for part in parts:
            for name in (inner for one in _made_of(loop, part) for inner in ast.walk(one)):
                called = isinstance(owner := program.parents[name], ast.Call) and owner.func is name
                if not isinstance(name, ast.Name) or called or name.id in within:
                    continue
                if _tensor(program.values(name)):
                    found.add(name.id)
    return found


def _made_of(loop: ast.stmt, node: ast.expr) -> list[ast.expr]:
    """Give an expression and those that give the names in it, each as it was last set before in a loop."""
    found, left = [node], [node]
    while left:
        here = left.pop()
        for name in {one.id for one in ast.walk(here) if isinstance(one, ast.Name)}:
            sets = [one for one in ast.walk(loop) if isinstance(one, ast.Assign) and _binds(one, name)]
            before = [one for one in sets if one.lineno < here.lineno]
            last = max(before, key=lambda one: one.lineno, default=None)
            if last is not None and last.value not in found:
                found.append(last.value)
                left.append(last.value)
    return found


def _binds(node: ast.Assign, name: str) -> bool:
    """Whether an assignment binds a name."""
    return any(isinstance(one, ast.Name) and one.id == name for target in node.targets for one in ast.walk(target))


def _given(program: Program, node: ast.Call) -> list[ast.expr]:
    """Give the arguments of a call that are samples, where it calls a network or a loss."""
    for call in program.calls_by_node.get(node, ()):
        for thing in call.function.things:
            if isinstance(thing, Instance | Module) and is_module(thing):
                return list(node.args)
            if isinstance(thing, Criterion) or (
                isinstance(thing, Named) and thing.name.startswith("torch.nn.functional.") and "loss" in thing.name
            ):
                return node.args[:2]
            if isinstance(thing, Named) and thing.name.endswith("functional.cross_entropy"):
                return node.args[:2]
    return []


def _tensor(values: tuple[Value, ...]) -> bool:
    """Whether values may be tensors that all workers hold alike."""
    return bool(values) and all(
        value.spread.alike
        and value.items is None
        and not value.sized
        and all(isinstance(thing, Foreign) and "device" not in thing.maker for thing in value.things)
        for value in values
    )


def _time_first(program: Program) -> bool:
    """Whether a network takes sequences whose first axis is time, not samples."""
    for thing in program.facts.made:
        if isinstance(thing, Module) and thing.maker.rpartition(".")[2] in _TIME_FIRST:
            options = thing.site.keywords if isinstance(thing.site, ast.Call) else []
            if not any(
                one.arg == "batch_first" and isinstance(one.value, ast.Constant) and one.value.value is True
                for one in options
            ):
                return True
    return False
