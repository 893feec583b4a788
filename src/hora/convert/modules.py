"""The script's own modules: files beside it that it imports are read, followed and edited as it is.

What a network in ``models.py`` computes decides whether the script can be converted; so its file is read as Python
would find it: in the script's directory, in its package, or in the directories above it up to the project's.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from hora.convert.source import Source, parse, read
from hora.errors import HoraError

# A project is read up to so many files and lines, which takes some seconds; what lies beyond counts as unread.
LIMIT = 200
LINES = 30_000
_PROJECT = (".git", "pyproject.toml", "setup.py", "setup.cfg")
_INSTALLED = frozenset(
    {"hora", "torch", "torchvision", "numpy", "datasets", "transformers", "timm", "tqdm", "wandb", "sklearn"}
)


class Modules:
    """The modules of one script, read when they are first imported.

    Parameters
    ----------
    script
        The script.
    edited
        What has been made of some modules, by their paths.
    """

    def __init__(self, script: Source, edited: Mapping[Path, Source]) -> None:
        self.sources: dict[Path, Source] = {script.path.resolve(): script}
        self.edited = {path.resolve(): source for path, source in edited.items()}
        self.unread: set[Path] = set()
        self._lines = 0
        self.named = script.path.parent
        self.beside = script.path.resolve().parent
        self.above = _project(self.beside)
        self.added = _added(script.tree, self.beside)

    def find(self, name: str, level: int, importer: Path) -> Source | None:
        """Give the source of a module, or None where it is not one of the script's own.

        Parameters
        ----------
        name
            Its dotted name, without the leading dots of a relative import.
        level
            The number of those dots.
        importer
            The file that imports it.
        """
        if level:
            package = importer.resolve().parent
            for _ in range(level - 1):
                package = package.parent
            return self._read(package, name)
        roots = [self.beside, *self.added]
        if name.split(".")[0] not in _INSTALLED:
            roots += self.above
        for root in roots:
            found = self._read(root, name) if name else None
            if found is not None:
                return found
        return None

    def _read(self, root: Path, name: str) -> Source | None:
        """Read a module under a directory: a file, or a package's ``__init__.py``, which may be missing."""
        base = root.joinpath(*name.split(".")) if name else root
        for path in (base / "__init__.py", *([base.with_suffix(".py")] if name else [])):
            if path.is_file():
                return self.open(path)
        if base.is_dir() and any(base.glob("*.py")):
            return self.sources.setdefault(base, _nothing(base / "__init__.py"))
        return None

    @property
    def top(self) -> Path:
        """The directory of the script's project, or that which its packages are in."""
        if self.above:
            return self.above[-1]
        top = self.beside
        while (top / "__init__.py").is_file():
            top = top.parent
        return top

    def open(self, path: Path) -> Source | None:
        """Read a file once; None where it cannot be read, as for a script of Python 2."""
        path = path.resolve()
        if path not in self.sources:
            state = path.stat()
            named = Path(os.path.normpath(self.named / os.path.relpath(path, self.beside)))
            source = self.edited.get(path) or _read(named, state.st_mtime_ns, state.st_size)
            if source is None or len(self.sources) >= LIMIT or self._lines + len(source.lines) > LINES:
                self.unread.add(named)
                return None
            self.sources[path] = source
            self._lines += len(source.lines)
        return self.sources[path]


@lru_cache(maxsize=2 * LIMIT)
def _read(path: Path, changed: int, size: int) -> Source | None:
    """Read a file, once while it stays as it is."""
    try:
        return read(path, "follow")
    except HoraError:
        return None


@lru_cache(maxsize=LIMIT)
def _nothing(path: Path) -> Source:
    """Give the source of a package without an ``__init__.py``."""
    return parse("", path=path)


def _added(tree: ast.Module, beside: Path) -> list[Path]:
    """Give the directories beside a script that it adds to where Python looks for modules."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    adding = [call for call in calls if ast.unparse(call.func) in ("sys.path.append", "sys.path.insert")]
    texts = [node.value for call in adding for node in ast.walk(call) if isinstance(node, ast.Constant)]
    found = [beside / text for text in texts if isinstance(text, str) and text.strip("./")]
    return [path for path in dict.fromkeys(found) if path.is_dir()]


def _project(directory: Path) -> list[Path]:
    """Give the directories above one, up to that of its project; none where no project is to be seen."""
    above = list(directory.parents)[:5]
    here = [directory, *above]
    for place, candidate in enumerate(here):
        if any((candidate / name).exists() for name in _PROJECT):
            return here[1 : place + 1]
    return []
