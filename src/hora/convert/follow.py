"""Follow a script as often as it takes to know what it trains with."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

from hora.convert.program import Program
from hora.convert.source import Source
from hora.convert.values import Foreign, Method, Thing, ordered
from hora.convert.walk import Walk


def follow(source: Source, whole: frozenset[int] = frozenset(), edited: Mapping[Path, Source] | None = None) -> Program:
    """Follow a script: once to learn what it trains with, and again with that where it matters.

    Parameters
    ----------
    source
        The script.
    whole
        The evaluation loaders that every worker walks in full, by the order of their calls.
    edited
        What has been made of the script's own modules, by their paths.
    """

    def walked(full: frozenset[Thing] = frozenset()) -> Program:
        return Program(source, Walk(source, sized, full, optimizers, sizes, edited).run(), whole)

    sized, sizes = _sized([source])
    optimizers: frozenset[ast.AST] = frozenset()
    program = walked()
    optimizers = frozenset(thing.site for thing in _used_as_optimizers(program))
    sized, sizes = _sized(program.sources)
    if optimizers or len(program.sources) > 1:
        program = walked()
    full = frozenset(program.facts.loaders) - program.training_loaders - program.dealt
    return walked(full) if full else program


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
