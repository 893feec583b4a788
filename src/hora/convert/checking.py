"""Check files and directories as a linter does: which files, which of their findings count, what could not be read."""

from __future__ import annotations

import io
import os
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hora.convert.converting import check
from hora.convert.finding import Finding
from hora.convert.settings import Settings
from hora.errors import HoraError

_NOQA = re.compile(r"#\s*noqa\b(?P<codes>\s*:\s*[A-Z]+[0-9]+(?:[\s,]+[A-Z]+[0-9]+)*)?", re.IGNORECASE)
_NOT_ENTERED = frozenset({"__pycache__", "node_modules", "build", "dist", "venv", "site-packages"})


@dataclass(frozen=True)
class Unchecked:
    """A file that could not be checked.

    Attributes
    ----------
    file
        The file, as it was named.
    line
        Where, counted from 1.
    reason
        Why not.
    """

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} not checked: {self.reason}"


@dataclass(frozen=True)
class Report:
    """What checking gave.

    Attributes
    ----------
    findings
        What was found, by file and line.
    unchecked
        The files that could not be checked.
    checked, skipped
        How many files were looked at, and how many never mention torch.
    """

    findings: tuple[Finding, ...]
    unchecked: tuple[Unchecked, ...]
    checked: int
    skipped: int

    @property
    def status(self) -> int:
        """The exit status: 1 where there is more than notes, or a file that could not be checked."""
        return int(bool(self.unchecked) or any(not one.note for one in self.findings))


def check_paths(paths: Sequence[Path], settings: Settings) -> Report:
    """Check files, and the Python files in directories.

    Parameters
    ----------
    paths
        Files and directories.
    settings
        Which rules, and which files in the directories.

    Raises
    ------
    HoraError
        A path is not there, or no Python file is in a directory.
    """
    findings: dict[Finding, None] = {}
    unchecked: list[Unchecked] = []
    checked = skipped = 0
    for path, named in _files(paths, settings):
        try:
            if b"torch" not in path.read_bytes():
                skipped += 1
                continue
            checked += 1
            found = check(path)
        except OSError as error:
            unchecked.append(Unchecked(str(path), 1, f"it cannot be read: {error.strerror}"))
        except HoraError as error:
            if not error.found.startswith("no training loop"):
                unchecked.append(Unchecked(str(path), *_place(path, error)))
        except Exception as error:
            defect = f"a defect of Hora ({type(error).__name__}: {error}): please report it"
            unchecked.append(Unchecked(str(path), 1, defect))
        else:
            # A file of a directory whose training loop nothing in it starts is a module of some other script.
            if named or any(one.code != "HR909" for one in found):
                findings |= dict.fromkeys(_asked(found, settings))
    ordered = sorted(findings, key=lambda one: (one.file, one.line, one.column, one.code))
    return Report(tuple(ordered), tuple(unchecked), checked, skipped)


def _files(paths: Sequence[Path], settings: Settings) -> Iterator[tuple[Path, bool]]:
    """Give each Python file once, and whether it was named itself."""
    seen: set[Path] = set()
    for path in paths:
        inside = sorted(_inside(path, settings)) if path.is_dir() else [path]
        if not path.exists():
            raise HoraError(f"check {path}", f"there is no {path}", "Give Python files, or directories of them.")
        if not inside:
            raise HoraError(f"check {path}", "no Python file is in it", "Give Python files, or directories of them.")
        for file in inside:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file, not path.is_dir()


def _inside(directory: Path, settings: Settings) -> Iterator[Path]:
    """Give the Python files in a directory, save what is hidden, installed, built or excluded."""
    for here, directories, names in os.walk(directory):
        base = Path(here)
        directories[:] = [
            name
            for name in directories
            if not name.startswith(".") and name not in _NOT_ENTERED and not settings.excluded(base / name)
        ]
        for name in names:
            if name.endswith(".py") and not settings.excluded(base / name):
                yield base / name


def _asked(findings: Iterable[Finding], settings: Settings) -> Iterator[Finding]:
    """Give the findings that the settings ask for and that no comment silences."""
    for finding in findings:
        path = Path(finding.file)
        if settings.asks(finding.code, path) and not _silenced(finding, _comments(path)):
            yield finding


def _silenced(finding: Finding, comments: dict[int, str]) -> bool:
    """Whether the comment of a finding's line says ``noqa``, of everything or of its code."""
    found = _NOQA.search(comments.get(finding.line, ""))
    if found is None:
        return False
    codes = found["codes"]
    return codes is None or finding.code in re.split(r"[\s,:]+", codes.upper())


@lru_cache(maxsize=1)
def _comments(path: Path) -> dict[int, str]:
    """Give a file's comments that say ``noqa``, by line."""
    data = path.read_bytes()
    if b"noqa" not in data.lower():
        return {}
    try:
        tokens = list(tokenize.tokenize(io.BytesIO(data).readline))
    except (tokenize.TokenError, SyntaxError):
        return {}
    return {one.start[0]: one.string for one in tokens if one.type == tokenize.COMMENT}


def _place(path: Path, error: HoraError) -> tuple[int, str]:
    """Give the line that an error speaks of, and what it says."""
    found = re.match(re.escape(str(path)) + r":(\d+) (.*)", error.found, re.DOTALL)
    return (int(found[1]), found[2]) if found else (1, error.found.removeprefix(f"{path} "))
