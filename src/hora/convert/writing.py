"""Write a conversion: one script to a file, a project to a directory, or in place; all of it or nothing."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from hora.convert.conversion import Conversion
from hora.convert.entries import needed
from hora.convert.source import read
from hora.errors import HoraError


def write(conversion: Conversion, out: Path | str | None = None, *, in_place: bool = False) -> tuple[Path, ...]:
    """Write a converted script, all of it or nothing.

    Parameters
    ----------
    conversion
        What to write.
    out
        A file for the script; or a directory, which is there or whose name ends with a slash, for the script and the
        modules of its own that it needs, changed or not, each at its place beside the others.
    in_place
        Whether the originals are written over, instead.

    Returns
    -------
    tuple of Path
        What was written, the script first.

    Raises
    ------
    HoraError
        ``out`` is the original, or a file where other files are changed, too; or it cannot be written.
    """
    asked = f"write {out or conversion.path}"
    own = needed(read(conversion.path, asked))
    if in_place or out is None:
        contents = {path: (data, path) for path, data in conversion.contents}
    elif is_directory(out):
        contents = _project(conversion, own, Path(out))
    else:
        require_one_file(conversion, asked)
        contents = {Path(out): (conversion.script.encoded(), conversion.path)}
    originals = {path.resolve() for path in (conversion.path, *own)}
    if not in_place and any(target.resolve() in originals for target in contents):
        raise HoraError(asked, "that is the original", "Give another path, or ask for --in-place.")
    _write_all(asked, contents)
    return tuple(contents)


def require_one_file(conversion: Conversion, asked: str) -> None:
    """Raise :class:`hora.errors.HoraError` where the script alone is no conversion."""
    others = [str(file.path) for file in conversion.changed if file is not conversion.script]
    if others:
        some = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        raise HoraError(
            asked, f"{some} must be changed, too", f"Give a directory: hora convert {conversion.path} -o DIR/"
        )


def is_directory(out: Path | str) -> bool:
    """Whether a path names a directory to write into."""
    return str(out).endswith(("/", os.sep)) or Path(out).is_dir()


def _project(conversion: Conversion, own: tuple[Path, ...], directory: Path) -> dict[Path, tuple[bytes, Path]]:
    """Give the contents of a converted script and of what it needs, by where they are put, with the originals."""
    converted = {path.resolve(): data for path, data in conversion.contents}
    paths = dict.fromkeys([*converted, *(path.resolve() for path in own)])
    top = os.path.commonpath([path.parent for path in paths])
    contents = {}
    for path in paths:
        target = directory / path.relative_to(top)
        target.parent.mkdir(parents=True, exist_ok=True)
        contents[target] = (converted[path] if path in converted else path.read_bytes(), path)
    return contents


def _write_all(asked: str, contents: dict[Path, tuple[bytes, Path]]) -> None:
    """Write files beside their places first, then put all in their places."""
    written: dict[Path, str] = {}
    try:
        for target, (data, original) in contents.items():
            handle, written[target] = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            os.chmod(written[target], original.stat().st_mode & 0o7777)
        for target in contents:
            os.replace(written[target], target)
    except OSError as error:
        found = f"{error.filename or 'it'} cannot be written: {error.strerror}"
        raise HoraError(asked, found, "Give another path.") from None
    finally:
        for name in written.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
