"""Which files of a project import which: what a script needs to run, and which scripts start what a file defines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from hora.convert.imports import modules_of
from hora.convert.modules import Modules
from hora.convert.source import Source, parse, read
from hora.errors import HoraError

_MOST = 1000


def needed(script: Source) -> tuple[Path, ...]:
    """Give the modules of its own that a script may import, even through others, and the rest of their packages.

    What a package imports by a name that is only known when it runs is there, too.
    """
    modules = Modules(script, {})
    found: dict[Path, Source] = {}
    left = [script]
    while left:
        here = left.pop()
        for name, level in _imported(here.tree):
            source = modules.find(name, level, here.path)
            if source is not None and source.path.resolve() not in found and source is not script:
                found[source.path.resolve()] = source
                left.append(source)
    for path in list(found):
        if (path.parent / "__init__.py").is_file():
            for beside in path.parent.glob("*.py"):
                if beside not in found and (source := modules.open(beside)) is not None and source is not script:
                    found[beside] = source
    return (*(source.path for source in found.values() if source.path.is_file()), *sorted(modules.unread))


def entries(files: Iterable[Path]) -> list[Path]:
    """Give the scripts of a project that import some of its files, even through others, and that none imports.

    They are named from the project's directory.
    """
    asked = {path.resolve() for path in files}
    root = Modules(parse("", path=min(asked)), {}).top
    paths = [path for path in sorted(root.rglob("*.py")) if not _hidden(path.relative_to(root))][:_MOST]
    texts = {path.resolve(): path.read_text(encoding="utf-8", errors="replace") for path in paths}
    edges = lru_cache(maxsize=_MOST)(_edges)
    found: set[Path] = set()
    imported = set(asked)
    left = [*asked]
    while left:
        here = left.pop()
        word = re.compile(rf"\b{re.escape(here.parent.name if here.stem == '__init__' else here.stem)}\b")
        for path in (path for path, text in texts.items() if path != here and word.search(text)):
            if here in edges(path):
                imported.add(here)
                left += [path] if path not in found else []
                found.add(path)
    return [path.relative_to(root.resolve()) for path in sorted(found - imported)]


def _hidden(path: Path) -> bool:
    """Whether a file is in a directory that is not of the project itself."""
    return any(part.startswith(".") or part in ("site-packages", "build", "node_modules") for part in path.parts)


def _edges(path: Path) -> frozenset[Path]:
    """Give the files that a file imports."""
    try:
        source = read(path, "follow")
    except HoraError:
        return frozenset()
    modules = Modules(source, {})
    found = (modules.find(name, level, path) for name, level in _imported(source.tree))
    return frozenset(one.path.resolve() for one in found if one is not None)


def _imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Give the modules that a file may import, wherever it does: their names, and the dots before them."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        level = getattr(node, "level", 0) or 0
        for name in modules_of(node):
            name = name.lstrip(".")
            members = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            parts = name.split(".") if name else []
            yield from ((".".join(parts[: end + 1]), level) for end in range(len(parts)))
            if level and not name:
                yield "", level
            yield from ((".".join([*parts, member]), level) for member in members if member != "*")
