"""What holds in a branch, of the settings that it hangs on: ``if args.aux:`` here and in a network go one way together.

A setting is an option of the command line as it was given. In the branch of a test on it the walk takes the outcome for
granted, so that a later test on the same setting does not open ways that no run of the script takes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from hora.convert.arguments import Arguments
from hora.convert.values import Constant, Foreign, Method, Thing, Value

if TYPE_CHECKING:
    from hora.convert.walk import Walk

Fact: TypeAlias = tuple[Method, Constant | None, bool]
"""A setting, the constant that it is compared with (None for its truth), and how that comes out."""


def is_options(thing: Thing) -> bool:
    """Whether a thing holds the options of the command line."""
    return isinstance(thing, Foreign) and thing.maker.endswith("parse_args")


def declare(walk: Walk, arguments: Arguments) -> None:
    """Note the choices that ``add_argument()`` leaves for an option."""
    found = [thing.value for one in arguments.values for thing in one.things if isinstance(thing, Constant)]
    flags = [flag for flag in found if isinstance(flag, str)]
    first = next((flag for flag in flags if flag.startswith("--")), flags[0] if flags else "")
    name = first.lstrip("-").replace("-", "_")
    given = {keyword.arg: keyword.value for keyword in arguments.node.keywords}
    listed = given.get("choices")
    if "dest" in given or "nargs" in given or not isinstance(listed, ast.List | ast.Tuple):
        choices = None
    else:
        # Left out it is its default, which need not be among the choices.
        entries = [*listed.elts, given.get("default", ast.Constant(None))] if first.startswith("-") else listed.elts
        constants = [
            Constant(one.value, type(one.value).__name__)
            for one in entries
            if isinstance(one, ast.Constant) and isinstance(one.value, str | int | float | None)
        ]
        choices = frozenset(constants) if len(constants) == len(entries) else None
    # An option that is declared twice may have been for another parser.
    again = name in walk.choices and walk.choices[name][0] is not arguments.node
    walk.choices[name] = arguments.node, None if again else choices


def named(walk: Walk, option: str) -> frozenset[str]:
    """Give the texts that an option may be: its choices, or else its default."""
    declared = walk.state.trace.look(walk.choices, option)
    if declared is None:
        return frozenset()
    if declared[1] is not None:
        return frozenset(choice.value for choice in declared[1] if isinstance(choice.value, str))
    defaults = [one.value for one in declared[0].keywords if one.arg == "default"]
    return frozenset(one.value for one in defaults if isinstance(one, ast.Constant) and isinstance(one.value, str))


def holds(walk: Walk, test: ast.expr) -> bool | None:
    """Give how a test that was just evaluated comes out under what is taken for granted; None where that is open."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = holds(walk, test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.BoolOp):
        stops = isinstance(test.op, ast.Or)
        answers = [holds(walk, part) if part in walk.last else None for part in test.values]
        return stops if stops in answers else None if None in answers else not stops
    fact = _fact(walk, test)
    return None if fact is None else _answer(walk, fact)


def taken(walk: Walk, test: ast.expr, outcome: bool) -> frozenset[Fact]:
    """Give what is known of settings where a test comes out one way."""
    return frozenset(_taken(walk, test, outcome))


def _taken(walk: Walk, test: ast.expr, outcome: bool) -> Iterator[Fact]:
    """Give what is known of settings where a test comes out one way, one by one."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield from _taken(walk, test.operand, not outcome)
    elif isinstance(test, ast.BoolOp):
        # Of `a and b` that is true, both are; of one that is false, it is open which.
        if isinstance(test.op, ast.And) is outcome:
            for part in test.values:
                yield from _taken(walk, part, outcome)
    else:
        fact = _fact(walk, test)
        if fact is not None:
            option, constant, positive = fact
            yield option, constant, positive is outcome


def _fact(walk: Walk, test: ast.expr) -> Fact | None:
    """Give what a simple test says of one setting, were it true."""
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq | ast.NotEq):
        left, right = walk.last.get(test.left), walk.last.get(test.comparators[0])
        for one, other in ((left, right), (right, left)):
            option, constant = setting(one), _constant(other)
            if option is not None and constant is not None:
                return option, constant, isinstance(test.ops[0], ast.Eq)
        return None
    whole = setting(walk.last.get(test))
    return None if whole is None else (whole, None, True)


def setting(value: Value | None) -> Method | None:
    """Give the setting that a value is, and nothing else."""
    if value is not None and value.setting and len(value.things) == 1:
        (thing,) = value.things
        if isinstance(thing, Method):
            return thing
    return None


def _constant(value: Value | None) -> Constant | None:
    """Give the one text or number that a value is; numbers and truth values compare equal and are told apart here."""
    if value is not None and len(value.things) == 1:
        (thing,) = value.things
        if isinstance(thing, Constant) and isinstance(thing.value, str | int) and not isinstance(thing.value, bool):
            return thing
    return None


def _answer(walk: Walk, fact: Fact) -> bool | None:
    """Give whether a fact follows from those taken for granted."""
    option, constant, positive = fact
    known = {(one, outcome) for of, one, outcome in walk.assumed if of == option}
    if constant is None:
        for one, outcome in known:
            if one is None or outcome:
                return (outcome if one is None else bool(one.value)) is positive
        return None
    for one, outcome in known:
        if one is not None and outcome:
            return (one.value == constant.value) is positive
    if (constant, False) in known or ((None, False) in known and constant.value):
        return not positive
    declared = walk.state.trace.look(walk.choices, option.name)
    choices = declared[1] if declared is not None else None
    if choices is None:
        return None
    left = {choice for choice in choices if (choice, False) not in known}
    return positive if left == {constant} else not positive if constant not in left else None
