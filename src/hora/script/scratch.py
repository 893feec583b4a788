"""A working directory where an observed script may do as it likes: it reads its own files and never overwrites one.

The directory starts as links to what lies in the script's real one. Before a write, Python's audit events tell the
path: a link on the way to it is then replaced by a real directory of links, or by a copy of its file, so only what is
written into is ever copied. A write to anywhere else is refused by name.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from hora.errors import HoraError

# What has to be done to a link before the event that a path is audited for: nothing (the event changes the link
# itself), drop it for a new file, copy the file it leads to, or make a directory of its own of it, with all below.
_Leaf = Literal["leave", "drop", "copy", "tree"]

# For each audit event that changes the file system: which of its arguments are the paths it changes, and what to do to
# them.
_CHANGES: dict[str, tuple[tuple[int, ...], _Leaf]] = {
    "os.mkdir": ((0,), "leave"),
    "os.remove": ((0,), "leave"),
    "os.rename": ((0, 1), "leave"),
    "os.link": ((1,), "leave"),
    "os.symlink": ((1,), "leave"),
    "os.truncate": ((0,), "copy"),
    "os.chmod": ((0,), "copy"),
    "os.utime": ((0,), "copy"),
    "os.rmdir": ((0,), "tree"),
    "shutil.rmtree": ((0,), "tree"),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def link_tree(origin: Path, scratch: Path) -> None:
    """Fill `scratch` (made if absent) with a link to each entry of `origin`."""
    scratch.mkdir(parents=True, exist_ok=True)
    for entry in os.scandir(origin):
        (scratch / entry.name).symlink_to(Path(entry.path).resolve() if entry.is_symlink() else entry.path)


class Scratch:
    """Keeps the writes of this process inside `roots`.

    Parameters
    ----------
    roots
        Directories made by `link_tree`.
    free
        Directories where a script may write as it likes: its temporary files, its libraries' caches.
    """

    def __init__(self, roots: tuple[Path, ...], free: tuple[Path, ...]) -> None:
        self._roots = tuple(os.path.realpath(root) for root in roots)
        caches = [os.environ.get(name, "~/.cache") for name in ("XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME")]
        places = [*map(str, free), *caches, "~/.config", tempfile.gettempdir(), "/dev", "/proc"]
        self._free = tuple(os.path.realpath(os.path.expanduser(place)) for place in places)
        self._active = False
        self._own = threading.local()

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Watch the writes of this process and of those it forks."""
        sys.addaudithook(self._audit)
        save = torch.save

        def saved(obj: object, f: Any, *args: Any, **kwargs: Any) -> None:
            # torch's own writer opens the file below Python, where no audit event tells of it.
            if isinstance(f, (str, os.PathLike)):
                self._claim(f, "drop")
            save(obj, f, *args, **kwargs)

        torch.save = saved
        # A compiled module would be written beside its source.
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        self._active = True
        try:
            yield
        finally:
            self._active = False
            torch.save = save
            sys.dont_write_bytecode = before

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._active or getattr(self._own, "writes", False):
            return
        if event == "open":
            path, mode, flags = args
            flags = flags or 0
            writes = any(letter in mode for letter in "wax+") if mode else bool(flags & _WRITING)
            if writes and isinstance(path, (str, bytes, os.PathLike)):
                self._claim(path, "drop" if flags & os.O_TRUNC and flags & os.O_CREAT else "copy")
        elif event in _CHANGES:
            indices, leaf = _CHANGES[event]
            if any(isinstance(fd, int) and fd >= 0 for fd in args[-len(indices) :]):
                # Relative to a directory that was opened before, as rmtree does below what it has claimed.
                return
            for index in indices:
                if isinstance(args[index], (str, bytes, os.PathLike)):
                    self._claim(args[index], leaf)

    def _claim(self, path: str | bytes | os.PathLike[Any], leaf: _Leaf) -> None:
        """Make `path` one that can be changed without a trace outside, or refuse."""
        absolute = os.path.abspath(os.fsdecode(path))
        parent = os.path.realpath(os.path.dirname(absolute))
        root = next((root for root in self._roots if _inside(absolute, root)), None)
        if root is None:
            places = (*self._free, *self._roots)
            if not any(_inside(parent, place) or absolute == place for place in places):
                raise HoraError(
                    "observe the script's writes",
                    f"it writes to {absolute}, outside its working directory",
                    "Give it a relative path: an observed run keeps relative writes in a scratch directory",
                    status=3,
                )
            return
        self._own.writes = True
        try:
            with _locked(root):
                here = root
                parts = os.path.relpath(absolute, root).split(os.sep)
                for part in parts[:-1]:
                    here = os.path.join(here, part)
                    _own_directory(here)
                _own_leaf(absolute, leaf)
        finally:
            self._own.writes = False


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root + os.sep)


def _own_directory(path: str) -> None:
    """Replace a link to a directory by a directory of links."""
    if os.path.islink(path) and os.path.isdir(path):
        target = os.path.realpath(path)
        os.unlink(path)
        link_tree(Path(target), Path(path))


def _own_leaf(path: str, leaf: _Leaf) -> None:
    if leaf == "leave" or not os.path.islink(path):
        return
    if leaf == "tree":
        _own_directory(path)
        for entry in os.scandir(path):
            if entry.is_dir():
                _own_leaf(entry.path, leaf)
    elif os.path.isfile(path):
        target = os.path.realpath(path)
        os.unlink(path)
        if leaf == "copy":
            shutil.copy2(target, path)


@contextmanager
def _locked(root: str) -> Iterator[None]:
    """Hold the lock that the workers of one scratch directory share."""
    with open(root + ".lock", "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
