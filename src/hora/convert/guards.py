"""Guards: statements that worker 0 alone runs, neighbours under one ``if``.

A guard must be safe: nothing that all workers do together may end up inside one.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeGuard

from hora.convert.blocks import blocks
from hora.convert.edits import Edit, guard, insert_before, join_guard, lines, replace
from hora.convert.facts import Call
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.source import Source
from hora.convert.values import Named

_CONDITIONAL = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.IfExp, ast.BoolOp)


def runs(program: Program, wanted: Callable[[ast.stmt], bool]) -> list[list[ast.stmt]]:
    """Give runs of neighbouring statements that are wanted, are not guarded yet, and may be.

    Those of the script come first: what is guarded there needs no guard in the modules that it leads to.

    Parameters
    ----------
    program
        The script.
    wanted
        Whether a statement is one for worker 0.
    """
    in_script = list(_runs(program, program.source, wanted))
    return in_script or [run for source in program.sources[1:] for run in _runs(program, source, wanted)]


def _runs(program: Program, source: Source, wanted: Callable[[ast.stmt], bool]) -> Iterator[list[ast.stmt]]:
    """Give the runs of one file."""
    taken: set[ast.AST] = set()
    for block in _blocks(source.tree):
        run: list[ast.stmt] = []
        for statement in block:
            if statement in taken:
                continue
            if _comes_here(program, statement) and wanted(statement) and not together(program, statement):
                run.append(statement)
                taken.update(ast.walk(statement))
            elif run:
                yield run
                run = []
        if run:
            yield run


def guarded(program: Program, statements: Sequence[ast.stmt]) -> tuple[Edit, ...]:
    """Put neighbouring statements under a guard, joining one that stands directly before or after them."""
    source = program.home(statements[0])
    block = program.block(statements[0])
    first, last = block.index(statements[0]), block.index(statements[-1])
    parent = program.parents[statements[0]]
    if isinstance(parent, ast.If) and block is parent.body and len(block) == len(statements) and not parent.orelse:
        if _all_alike(program, parent):
            return (added(program, parent),)
    before: ast.stmt | None = block[first - 1] if first else None
    after: ast.stmt | None = block[last + 1] if last + 1 < len(block) else None
    if isinstance(before, ast.If) and _joinable(program, before):
        return tuple(join_guard(source, before, statements))
    edits = guard(source, statements, f"{program.runtime}.rank() == 0")
    if after is not None and _joinable(program, after):
        edits.append(lines(source, after.lineno, after.lineno))
    return tuple(edits)


def hoisted(program: Program, statements: Sequence[ast.stmt]) -> tuple[Edit, ...]:
    """Take out of statements what changes something for all workers: ``os.remove(saved.pop())`` removes for one alone.

    Gives no edits where there is nothing of the kind, or where the statement may leave it out.
    """
    for statement in statements:
        for node in ast.walk(statement):
            if not _takes(node) or not isinstance(statement, ast.Expr) or node is statement.value:
                continue
            if certain(program, node):
                return named_before(program, [node], program.fresh("taken"))
    return ()


def named_before(program: Program, alike: Sequence[ast.expr], name: str) -> tuple[Edit, ...]:
    """Give a name to what expressions of one statement, all of one text, give; it is worked out before that."""
    source, first = program.home(alike[0]), alike[0]
    line = f"{name} = {source.segment(first)}"
    return insert_before(source, program.statement(first), [line]), *(replace(source, one, name) for one in alike)


def certain(program: Program, node: ast.expr) -> bool:
    """Whether an expression is worked out once whenever its statement runs."""
    return not any(isinstance(one, _CONDITIONAL) for one in program.ancestors(node))


def calls_beside(program: Program, statement: ast.stmt, step: int, name: str) -> bool:
    """Whether the statement so many places after another in its block calls a function of the runtime, no more."""
    block = program.block(statement)
    at = block.index(statement) + step
    beside = block[at] if 0 <= at < len(block) else None
    return (
        isinstance(beside, ast.Expr | ast.Assign)
        and isinstance(beside.value, ast.Call)
        and any(Named(f"{NAME}.{name}") in value.things for value in program.values(beside.value.func))
    )


def _takes(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether a call takes an entry out of what it asks."""
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        return node.func.attr in ("pop", "popleft", "popitem")
    return isinstance(node.func, ast.Name) and node.func.id == "next"


def _all_alike(program: Program, choice: ast.If) -> bool:
    """Whether all workers decide alike at a choice."""
    return all(value.spread.alike for value in program.values(choice.test))


def added(program: Program, choice: ast.If) -> Edit:
    """Add the guard to the test of a choice that has nothing else in it."""
    source = program.home(choice)
    text = source.segment(choice.test)
    start, end = source.span(choice.test)
    loose = isinstance(choice.test, ast.IfExp | ast.Lambda | ast.NamedExpr)
    loose = loose or (isinstance(choice.test, ast.BoolOp) and isinstance(choice.test.op, ast.Or))
    if loose and not (source.text[start - 1 : start] == "(" and source.text[end : end + 1] == ")"):
        return Edit(start, end, f"({text}) and {program.runtime}.rank() == 0", source.path)
    return Edit(end, end, f" and {program.runtime}.rank() == 0", source.path)


def elsewhere(program: Program, node: ast.Call, wanted: Callable[[Call], bool]) -> bool:
    """Whether a call of the script leads, in other files, to calls for worker 0, and nothing of it is kept."""
    if not program.own(node):
        return False
    inside = [call for call in program.all_calls if node in call.place.context and not program.own(call.node)]
    if not any(wanted(call) for call in inside):
        return False
    return not keep(inside)


def keep(calls: Iterable[Call]) -> bool:
    """Whether a function in which one of these calls stands stores something in an object that it has not made."""
    return any(_keeps(function) for function in {call.place.frame.node for call in calls})


def _keeps(function: ast.AST) -> bool:
    """Whether a function stores something in an object that it has not made itself."""
    made = {
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    stores = [
        node for node in ast.walk(function) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    ]
    return any(not (isinstance(store.value, ast.Name) and store.value.id in made) for store in stores)


def together(program: Program, statement: ast.AST) -> bool:
    """Whether a statement or a part of one does, itself or in what it calls, something that all workers must do."""
    nodes = set(ast.walk(statement))
    if any(isinstance(node, ast.NamedExpr | ast.Yield | ast.YieldFrom | ast.Await) for node in nodes):
        return True
    happenings = [(one.node, one.place) for one in program.events if one.what in ("collective", "backward", "step")]
    happenings += [(draw.node, draw.place) for draw in program.facts.draws.values()]
    return any(node in nodes or nodes.intersection(place.context) for node, place in happenings)


def _comes_here(program: Program, statement: ast.stmt) -> bool:
    """Whether more workers than worker 0 come to a statement, and the runtime is there to ask which they are."""
    if any(not place.alone for place in program.places(statement)):
        calls = [call for node in ast.walk(statement) for call in program.calls_by_node.get(node, ())]
        return not any(program.before_start(call) for call in calls)
    return False


def _joinable(program: Program, statement: ast.stmt) -> bool:
    """Whether a statement is a guard that neighbours can join."""
    return bool(
        isinstance(statement, ast.If)
        and not statement.orelse
        and ast.unparse(statement.test) == f"{program.runtime}.rank() == 0"
        and statement.lineno < statement.body[0].lineno
    )


def _blocks(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    """Give every block of statements."""
    for node in ast.walk(tree):
        yield from filter(None, blocks(node))
