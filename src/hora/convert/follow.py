"""Follow a script as often as it takes to know what it trains with."""

from __future__ import annotations

import ast
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hora.convert.program import Program
from hora.convert.source import Source
from hora.convert.values import Foreign, Loader, Made, Method, ordered
from hora.convert.walk import Walk
from hora.convert.work import Work


@dataclass(frozen=True)
class Learned:
    """What following a script brought to light, in words that most edits leave as they are.

    Attributes
    ----------
    full
        The loaders that every worker walks in full, by their files and texts.
    others
        The other loaders.
    optimizers
        What is used as an optimizer, whatever library makes it.
    """

    full: frozenset[tuple[Path, str]]
    others: frozenset[tuple[Path, str]]
    optimizers: frozenset[tuple[Path, str]]


@dataclass(frozen=True)
class _Recognised(Container[object]):
    """The loaders that are made at some sites."""

    sites: frozenset[ast.AST]

    def __contains__(self, thing: object) -> bool:
        return isinstance(thing, Loader) and thing.site in self.sites


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
        return Program(source, Walk(source, sized, full, optimizers, sizes, edited, work).run(), whole)

    if learned is not None:
        sources = (source, *(edited or {}).values())
        sized, sizes = _sized(sources)
        optimizers = _sites(learned.optimizers, sources)
        program = walked(_Recognised(_sites(learned.full, sources)))
        if learn(program) == learned:
            return program
    sized, sizes = _sized([source])
    optimizers = frozenset()
    program = walked()
    optimizers = frozenset(thing.site for thing in _used_as_optimizers(program))
    sized, sizes = _sized(program.sources)
    if optimizers or len(program.sources) > 1:
        program = walked()
    full = _full(program)
    return walked(full) if full else program


def learn(program: Program) -> Learned | None:
    """Give what following a script brought to light; None where loaders of one text are used in different ways."""
    full = _full(program)
    one, other = ({_text(program, loader) for loader in loaders} for loaders in (full, {*program.facts.loaders} - full))
    optimizers = frozenset(_text(program, thing) for thing in _used_as_optimizers(program))
    return None if one & other else Learned(frozenset(one), frozenset(other), optimizers)


def _full(program: Program) -> frozenset[Loader]:
    """Give the loaders that every worker walks in full."""
    return frozenset(program.facts.loaders) - program.training_loaders - program.dealt


def _text(program: Program, thing: Made) -> tuple[Path, str]:
    """Give the file and the text of the call that makes a thing."""
    return program.home(thing.site).path, ast.unparse(thing.site)


def _sites(texts: frozenset[tuple[Path, str]], sources: Sequence[Source]) -> frozenset[ast.AST]:
    """Give the calls with these texts."""
    paths = {path for path, _ in texts}
    calls = (
        (source.path, node)
        for source in sources
        if source.path in paths
        for node in source.nodes
        if isinstance(node, ast.Call)
    )
    return frozenset(node for path, node in calls if (path, ast.unparse(node)) in texts)


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
