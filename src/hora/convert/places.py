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
        Whether a call is too far inside, because others use it too; a call in another file always is.

    Returns
    -------
    tuple of ast.stmt and list of Edit, or None
        The statement that is edited, and the edits; None where nothing in the script can be edited.
    """
    node: ast.AST = thing.site
    context = list(thing.context)
    while context and (not program.own(node) or climb(node)):
        node = context.pop()
    if not program.own(node) or climb(node):
        return None
    statement = program.statement(node)
    target = named(program, statement, node, thing)
    if target is not None:
        return statement, [insert_after(program.source, statement, [f"{target} = {call}({target}{options})"])]
    if isinstance(node, ast.expr) and any(plain(thing) in map(plain, value.things) for value in program.values(node)):
        return statement, surround(program.source, node, f"{call}(", f"{options})")
    return None


def named(program: Program, statement: ast.stmt, node: ast.AST, thing: Thing) -> str | None:
    """Give the name or attribute that a statement binds a thing to, alone or with others."""
    if not isinstance(statement, ast.Assign) or statement.value is not node or len(statement.targets) != 1:
        return None
    target = statement.targets[0]
    if isinstance(target, ast.Name | ast.Attribute):
        return program.source.segment(target)
    for element in target.elts if isinstance(target, ast.Tuple | ast.List) else ():
        if isinstance(element, ast.Name):
            for place in program.places(statement):
                held = program.facts.bindings.get(place.frame, {}).get(element.id)
                if held is not None and means(held, thing):
                    return element.id
    return None
