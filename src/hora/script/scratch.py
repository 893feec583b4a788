"""Where an observed script may do as it likes: it reads its own files and never overwrites one.

It runs in a mirror of links (`hora.script.mirror`). Before a write, Python's audit events tell the path: a link on the
way to it is then replaced by a real directory of links, or by a copy of its file, so only what is written into is ever
copied. A write to anywhere else is refused by name. What a compiled library opens below Python goes unseen, save
``torch.save`` and SQLite.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from hora.errors import HoraError
from hora.script.mirror import own_directory, own_file

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
    "sqlite3.connect": ((0,), "copy"),
    "os.rmdir": ((0,), "tree"),
    "shutil.rmtree": ((0,), "tree"),
}
# Where libraries are told to keep what they compile and download, beside the places under ``~``.
_CACHES = (
    "CUDA_CACHE_PATH",
    "HF_DATASETS_CACHE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "MPLCONFIGDIR",
    "NUMBA_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCH_EXTENSIONS_DIR",
    "TORCH_HOME",
    "TRANSFORMERS_CACHE",
    "TRITON_CACHE_DIR",
    "TRITON_HOME",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Scratch:
    """Keeps the writes of this process inside a mirror.

    Parameters
    ----------
    root
        The root of a `Mirror`.
    free
        Further directories where a script may write as it likes. Those for temporary files and for the caches of
        libraries always are.

    Attributes
    ----------
    written
        The files in the mirror that this process has written and left there, as paths outside it, in order.
    """

    def __init__(self, root: Path, free: tuple[Path, ...]) -> None:
        self._root = os.path.realpath(root)
        caches = [os.environ[name] for name in _CACHES if os.environ.get(name)]
        usual = ["~/.cache", "~/.config", "~/.triton", "~/.nv", "/dev", "/proc"]
        places = [*map(str, free), *caches, *usual, tempfile.gettempdir()]
        self._free = tuple(os.path.realpath(os.path.expanduser(place)) for place in places)
        self._active = False
        self._own = threading.local()
        self.written: dict[str, None] = {}

    def left(self) -> tuple[str, ...]:
        """Give the files of `written` but for the empty ones, which are locks and marks that all workers may leave."""
        return tuple(path for path in self.written if not _is_empty(self._root + path))

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Watch the writes of this process and of those it forks."""
        sys.addaudithook(self._audit)
        save = torch.save

        def saved(obj: object, f: Any, *args: Any, **kwargs: Any) -> None:
            # torch's own writer opens the file below Python, where no audit event tells of it.
            if isinstance(f, (str, os.PathLike)):
                self._note(self._claim(f, "drop"))
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
                self._note(self._claim(path, "drop" if flags & os.O_TRUNC and flags & os.O_CREAT else "copy"))
        elif event in _CHANGES:
            indices, leaf = _CHANGES[event]
            if event == "os.mkdir" and os.path.isdir(args[0]):
                # It fails, or is asked to be there already.
                return
            if any(isinstance(fd, int) and fd >= 0 for fd in args[-len(indices) :]):
                # Relative to a directory that was opened before, as rmtree does below what it has claimed.
                return
            claimed = [
                self._claim(args[index], leaf)
                for index in indices
                if isinstance(args[index], (str, bytes, os.PathLike))
            ]
            if event in ("os.remove", "os.rename") and claimed and claimed[0] in self.written:
                del self.written[claimed[0]]
                for target in claimed[1:]:
                    self._note(target)

    def _note(self, claimed: str | None) -> None:
        """Remember a file that is written."""
        if claimed is not None:
            self.written[claimed] = None

    def _claim(self, path: str | bytes | os.PathLike[Any], leaf: _Leaf) -> str | None:
        """Make `path` one that can be changed without a trace outside, or refuse.

        Returns its name outside the mirror; None where it is in no mirror, and nobody's result.
        """
        absolute = os.path.abspath(os.fsdecode(path))
        if not _inside(absolute, self._root):
            parent = os.path.realpath(os.path.dirname(absolute))
            if not any(_inside(parent, place) or absolute == place for place in self._free):
                raise HoraError(
                    "observe the script's writes",
                    f"it writes to {absolute}, outside its working directory",
                    "Give it a relative path: an observed run keeps relative writes in a scratch directory",
                    status=3,
                )
            return None
        self._own.writes = True
        try:
            with _locked(self._root):
                here = Path(self._root)
                parts = os.path.relpath(absolute, here).split(os.sep)
                for part in parts[:-1]:
                    here = here / part
                    own_directory(here)
                _own_leaf(Path(absolute), leaf)
        finally:
            self._own.writes = False
        return absolute[len(self._root) :]


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root + os.sep)


def _is_empty(path: str) -> bool:
    return os.path.isfile(path) and os.path.getsize(path) == 0


def _own_leaf(path: Path, leaf: _Leaf) -> None:
    if leaf == "leave" or not path.is_symlink():
        return
    if leaf == "tree":
        own_directory(path)
        for entry in path.iterdir():
            if entry.is_dir():
                _own_leaf(entry, leaf)
    elif leaf == "copy":
        own_file(path)
    elif path.is_file():
        path.unlink()


@contextmanager
def _locked(root: str) -> Iterator[None]:
    """Hold the lock that the workers of one scratch directory share."""
    with open(root + ".lock", "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
