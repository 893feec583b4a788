"""Where in the script something can be done to what a call makes, which may be in a function or in another file."""

from __future__ import annotations

import ast
from collections.abc import Callable

from hora.convert.edits import Edit, insert_after, surround
from hora.convert.program import Program
from hora.convert.values import Made, Thing, means, plain


def wrap(
    program: Program,
    thing: Made,
    call: str,
    options: str = "",
    *,
    climb: Callable[[ast.AST], bool] = lambda node: False,
) -> tuple[ast.stmt, list[Edit]] | None:
    """Put a wrapper around what a call makes: after the statement that names it, or around the call.

    Parameters
    ----------
    program
        The script.
    thing
        What is made.
    call, options
        What it is handed to, and with what more.
    climb
        Whether a call is too far inside, because others use it too. One in the script comes before one in its modules.

    Returns
    -------
    tuple of ast.stmt and list of Edit, or None
        The statement that is edited, and the edits; None where nothing in the script can be edited.
    """
    in_script = _wrapped(program, thing, call, options, lambda node: climb(node) or not program.own(node))
    return in_script or _wrapped(program, thing, call, options, climb)


def _wrapped(
    program: Program, thing: Made, call: str, options: str, climb: Callable[[ast.AST], bool]
) -> tuple[ast.stmt, list[Edit]] | None:
    """Put a wrapper around what a call makes, where that is not too far inside."""
    node: ast.AST = thing.site
    context = list(thing.context)
    while context and climb(node):
        node = context.pop()
        if any(node in backward.place.context for backward in program.backwards):
            return None
    if climb(node):
        return None
    statement = program.statement(node)
    target = named(program, statement, node, thing)
    if target is not None:
        return statement, [insert_after(program.home(statement), statement, [f"{target} = {call}({target}{options})"])]
    if isinstance(node, ast.expr) and _is(program, node, thing):
        return statement, surround(program.home(node), node, f"{call}(", f"{options})")
    return None


def named(program: Program, statement: ast.stmt, node: ast.AST, thing: Thing) -> str | None:
    """Give the name or attribute that a statement binds a thing to, alone or with others."""
    if not isinstance(statement, ast.Assign) or statement.value is not node or len(statement.targets) != 1:
        return None
    target = statement.targets[0]
    if isinstance(target, ast.Name | ast.Attribute):
        return program.home(target).segment(target) if _is(program, node, thing) else None
    for element in target.elts if isinstance(target, ast.Tuple | ast.List) else ():
        if isinstance(element, ast.Name):
            for place in program.places(statement):
                held = program.facts.bindings.get(place.frame, {}).get(element.id)
                if held is not None and means(held, thing):
                    return element.id
    return None


def _is(program: Program, node: ast.AST, thing: Thing) -> bool:
    """Whether an expression may stand for a thing itself, and not only for something that holds it."""
    return any(plain(thing) in map(plain, value.things) for value in program.values(node))
