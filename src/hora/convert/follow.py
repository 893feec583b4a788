"""Follow a script as often as it takes to know what it trains with."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from hora.convert.program import Program
from hora.convert.representatives import represented
from hora.convert.source import Source
from hora.convert.values import Foreign, Loader, Made, Method, ordered
from hora.convert.walk import Walk
from hora.convert.work import Work
from hora.convert.written import sizes_of

Name: TypeAlias = tuple[Path, str, int]
"""A call as an edit elsewhere leaves it: its file, the function's text, and how many such calls come before it."""


@dataclass(frozen=True)
class Learned:
    """What following a script brought to light, in words that most edits leave as they are.

    Attributes
    ----------
    full
        The loaders that every worker walks in full, by the calls that lead to each.
    others
        The other loaders.
    optimizers
        What is used as an optimizer, whatever library makes it.
    written
        What makes tensors as large as the batch, its size written out as a number.
    """

    full: frozenset[tuple[Name, ...]]
    others: frozenset[tuple[Name, ...]]
    optimizers: frozenset[Name]
    written: frozenset[Name]


@dataclass(frozen=True)
class _Recognised(Container[object]):
    """The loaders that are made in these ways."""

    ways: frozenset[tuple[Name, ...]]
    names: Mapping[ast.AST, Name]

    def __contains__(self, thing: object) -> bool:
        return isinstance(thing, Loader) and _way(thing, self.names) in self.ways


def follow(
    source: Source,
    whole: frozenset[int] = frozenset(),
    edited: Mapping[Path, Source] | None = None,
    learned: Learned | None = None,
    work: Work | None = None,
) -> Program:
    """Follow a script: once to learn what it trains with, and again with that where it matters.

    Parameters
    ----------
    source
        The script.
    whole
        The evaluation loaders that every worker walks in full, by the order of their calls.
    edited
        What has been made of the script's own modules, by their paths.
    learned
        What was learned before the last edit: one walk is enough where that still holds.
    work
        What was done before for the same answer; counted from none where there is none.

    Raises
    ------
    TooLargeError
        There is more to follow than the work's limit.
    """
    work = work or Work()

    def walked(full: Container[object] = ()) -> Program:
        program = Program(source, Walk(source, sized, full, optimizers, sizes, edited, work).run(), whole)
        work.represented |= {(program.home(cls).path, cls.name) for cls in represented(program)}
        return program

    if learned is not None:
        sources = (source, *(edited or {}).values())
        sized, sizes = _sized(sources)
        names = _names(sources)
        optimizers = frozenset(node for node, name in names.items() if name in learned.optimizers)
        if learned.written:
            sized |= {size for size, name in _first_sizes(names).items() if name in learned.written}
        program = walked(_Recognised(learned.full, names))
        if learn(program) == learned:
            return program
    sized, sizes = _sized([source])
    optimizers = frozenset()
    program = walked()
    optimizers = frozenset(thing.site for thing in _used_as_optimizers(program))
    sized, sizes = _sized(program.sources)
    sized |= program.facts.written
    if optimizers or len(program.sources) > 1 or program.facts.written:
        program = walked()
    full = _full(program)
    return walked(full) if full else program


def learn(program: Program) -> Learned | None:
    """Give what following a script brought to light; None where loaders made alike are used in different ways."""
    full, names = _full(program), _names(program.sources)
    one, other = ({_way(loader, names) for loader in loaders} for loaders in (full, {*program.facts.loaders} - full))
    optimizers = {thing.site for thing in _used_as_optimizers(program)}
    if one & other or not optimizers <= names.keys():
        return None
    first = _first_sizes(names) if program.facts.written else {}
    written = {name for size, name in first.items() if size in program.facts.written}
    return Learned(frozenset(one), frozenset(other), frozenset(names[site] for site in optimizers), frozenset(written))


def _first_sizes(names: Mapping[ast.AST, Name]) -> dict[ast.expr, Name]:
    """Give what may be the first size of what a call makes, with the call's name."""
    found = ((sizes_of(call), name) for call, name in names.items() if isinstance(call, ast.Call))
    return {sizes[0]: name for sizes, name in found if sizes}


def _full(program: Program) -> frozenset[Loader]:
    """Give the loaders that every worker walks in full."""
    return frozenset(program.facts.loaders) - program.training_loaders - program.dealt


def _way(thing: Made, names: Mapping[ast.AST, Name]) -> tuple[Name, ...]:
    """Give the calls that lead to a thing, the one that makes it last."""
    return tuple(names[node] for node in (*thing.context, thing.site) if node in names)


def _names(sources: Sequence[Source]) -> dict[ast.AST, Name]:
    """Name each call of some files."""
    return {node: (source.path, *name) for source in sources for node, name in _numbered(source.tree).items()}


@lru_cache(maxsize=256)
def _numbered(tree: ast.Module) -> dict[ast.AST, tuple[str, int]]:
    """Number a file's calls of the same function, in the order of the text."""
    seen: Counter[str] = Counter()
    names: dict[ast.AST, tuple[str, int]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            names[node] = function, seen[function]
            seen[function] += 1
    return names


def _used_as_optimizers(program: Program) -> set[Foreign]:
    """Give the objects of other libraries that are stepped and whose gradients are set to zero."""
    used: dict[Foreign, set[str]] = {}
    for call in program.all_calls:
        for thing in ordered(call.function.things):
            if isinstance(thing, Method) and isinstance(thing.receiver, Foreign):
                used.setdefault(thing.receiver, set()).add(thing.name)
    return {thing for thing, names in used.items() if {"step", "zero_grad"} <= names}


def _sized(sources: Sequence[Source]) -> tuple[frozenset[ast.AST], frozenset[int]]:
    """Give the expressions that read what some loader has as its batch size, and the numbers that some have."""
    texts: set[str] = set()
    numbers: set[int] = set()
    for node in (node for source in sources for node in source.nodes):
        if isinstance(node, ast.Call):
            given = [keyword.value for keyword in node.keywords if keyword.arg == "batch_size"]
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given += node.args[1:2] if name == "DataLoader" else []
            numbers |= {
                one.value for one in given if isinstance(one, ast.Constant) and type(one.value) is int and one.value > 1
            }
            texts |= {ast.unparse(one) for one in given if isinstance(one, ast.Name | ast.Attribute | ast.Subscript)}
    ends = {text.rpartition(".")[2] for text in texts}
    reads = frozenset(
        node
        for source in sources
        for node in source.nodes
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript)
        and (isinstance(node, ast.Subscript) or getattr(node, "attr", getattr(node, "id", "")) in ends)
        and ast.unparse(node) in texts
    )
    return reads, frozenset(numbers)
