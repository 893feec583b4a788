"""A mirror of the file system for one run: a directory of links, in which a script finds its files where they were.

The script's working directory and its own directory lie in the mirror under the paths that they have outside, with all
that is around them, so that ``../data`` leads where it always led. `hora.script.scratch` turns links into copies before
they are written into.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

# What the names of the directories begin with that Hora makes for a run in the directory for temporary files.
PREFIX = "hora-"
# How deep, and through how many directories, a script's own sources are looked for.
_DEPTH, _DIRECTORIES = 4, 500
# What is copied of a working directory: files up to this size, so many bytes in all, and from directories of so many
# entries. A data set is larger, and only read.
_FILE_BYTES, _ALL_BYTES, _ENTRIES = 16 << 20, 64 << 20, 1000


class Mirror:
    """A mirror of ``/`` in `root`, a directory that is not there yet. It costs a link for each entry beside a path."""

    def __init__(self, root: Path) -> None:
        self.root = root
        link_tree(Path("/"), root)

    def directory(self, origin: Path) -> Path:
        """The directory `origin` in the mirror: a real one, of links to what lies in it.

        Parameters
        ----------
        origin
            A directory, as an absolute path.
        """
        here = self.root
        for part in origin.parts[1:]:
            here = here / part
            own_directory(here)
        return here

    def contents(self, origin: Path) -> Path:
        """The same, with the smaller files below it copied: what a library writes below Python then stays inside, too.

        Environments, hidden directories, other file systems, and what is too large or too many stay links.
        """
        left = _ALL_BYTES
        for entry in self._files(origin, _is_small):
            size = entry.stat().st_size
            if size <= min(_FILE_BYTES, left) and os.access(entry.path, os.R_OK):
                left -= size
                own_file(Path(entry.path))
        return self.directory(origin)

    def sources(self, origin: Path) -> Path:
        """The same, with the Python files below it copied, so that what resolves its own ``__file__`` stays inside.

        Environments, hidden directories, other file systems and ``__pycache__`` stay links.
        """
        for entry in self._files(origin, _holds_sources):
            if entry.name.endswith(".py"):
                own_file(Path(entry.path))
        return self.directory(origin)

    def _files(self, origin: Path, enters: Callable[[Path], bool]) -> Iterator[os.DirEntry[str]]:
        """List the files in a directory and in those below it that are entered, which become real ones."""
        device, directories = origin.stat().st_dev, _DIRECTORIES
        below = [(self.directory(origin), 0)]
        while below and directories:
            directory, depth = below.pop(0)
            directories -= 1
            for entry in os.scandir(directory):
                path = Path(entry.path)
                if entry.is_file():
                    yield entry
                elif depth < _DEPTH and entry.is_dir() and self._is_entered(path, device) and enters(path):
                    own_directory(path)
                    below.append((path, depth + 1))

    def _is_entered(self, path: Path, device: int) -> bool:
        """Whether a directory is one of the script's: on its file system, and neither this mirror nor another run's.

        Where the script lies in the directory for temporary files, the mirrors lie beside it, and lead to ``/proc``.
        """
        target = path.resolve()
        temporary = target.name.startswith(PREFIX) and target.parent == Path(tempfile.gettempdir()).resolve()
        root = self.root.resolve()
        return target.stat().st_dev == device and not temporary and target != root and target not in root.parents


def link_tree(origin: Path, scratch: Path) -> None:
    """Fill `scratch` (made if absent) with a link to each entry of `origin`, of those that may be read."""
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        entries = list(os.scandir(origin))
    except PermissionError:
        return
    for entry in entries:
        (scratch / entry.name).symlink_to(Path(entry.path).resolve() if entry.is_symlink() else entry.path)


def own_directory(path: Path) -> None:
    """Replace a link to a directory by a directory of links."""
    if path.is_symlink() and path.is_dir():
        target = path.resolve()
        path.unlink()
        link_tree(target, path)


def own_file(path: Path) -> None:
    """Replace a link to a file by a copy of it."""
    if path.is_symlink() and path.is_file():
        target = path.resolve()
        path.unlink()
        shutil.copy2(target, path)


def _holds_sources(directory: Path) -> bool:
    return any(name.endswith(".py") for name in _names(directory) or ())


def _is_small(directory: Path) -> bool:
    names = _names(directory)
    return names is not None and len(names) <= _ENTRIES


def _names(directory: Path) -> list[str] | None:
    """What lies in a directory; None where it is hidden, cannot be read, or holds what is installed."""
    if directory.name.startswith((".", "__pycache__")) or directory.name in {"site-packages", "node_modules"}:
        return None
    try:
        names = os.listdir(directory)
    except PermissionError:
        return None
    return None if "pyvenv.cfg" in names else names
