"""The head of a file, where imports and functions of a target go, and its end, where the job is left."""

from __future__ import annotations

import ast
import sys

from hora.convert.edits import Edit, insert_after
from hora.convert.imports import added, among, modules_of, of_torch
from hora.convert.source import Source
from hora.convert.targets.words import Words

PARALLEL = "from torch.nn.parallel import DistributedDataParallel"


def placed(source: Source, module: str, line: str, kind: type[ast.Import] | type[ast.ImportFrom]) -> Edit:
    """Put an import of torch's behind those that come before it."""
    if module.split(".")[0] != "torch":
        return among(source, module, line)
    torch = [one for one in _heads(source) if of_torch(one)]
    earlier = [one for one in torch if isinstance(one, kind) and modules_of(one)[0] < module]
    if earlier:
        return insert_after(source, earlier[-1], [line])
    if torch and kind is ast.ImportFrom:
        return insert_after(source, torch[-1], [line])
    return among(source, module, line)


def with_os(source: Source) -> Edit:
    """Import ``os`` in the order of the imports that the file begins with."""
    earlier: list[ast.Import] = []
    for node in _heads(source):
        if not isinstance(node, ast.Import) or modules_of(node)[0].split(".")[0] not in sys.stdlib_module_names:
            break
        if modules_of(node)[0] < "os":
            earlier.append(node)
    return insert_after(source, earlier[-1], ["import os"]) if earlier else added(source, "import os")


def defined(source: Source, words: Words, name: str, functions: dict[str, str]) -> Edit:
    """Define functions that the words need behind the imports at the head of the file.

    Parameters
    ----------
    source
        The file.
    words
        The words of the target.
    name
        The file's name for the target's module.
    functions
        The functions by their names among the words, each with the name that it gets.
    """
    text: list[str] = []
    for plain, body in words.functions.items():
        if plain in functions:
            code = body.format(
                name=name,
                size=words.said["size"].format(name=name),
                function=functions[plain],
                sum=functions.get("sum_over_workers", ""),
                options=words.options.format(name=name),
            )
            text += ["", "", *code.splitlines()]
    last = _heads(source)[-1]
    line = last.end_lineno or last.lineno
    blank = 0
    while line + blank < len(source.lines) and not source.lines[line + blank].strip():
        blank += 1
    return insert_after(source, last, [*text, *[""] * max(0, 2 - blank)])


def ended(source: Source, text: str) -> Edit:
    """Leave the job at the end of the script, by some lines."""
    last = source.tree.body[-1]
    if isinstance(last, ast.If) and "__name__" in ast.unparse(last.test):
        return insert_after(source, last.body[-1], text.splitlines())
    return insert_after(source, last, text.splitlines())


def _heads(source: Source) -> list[ast.Import | ast.ImportFrom]:
    """Give the imports of the file that stand in no block."""
    return [one for one in source.tree.body if isinstance(one, ast.Import | ast.ImportFrom)]
