"""What ``[tool.hora]`` of the nearest ``pyproject.toml`` says about checking: which rules, and which files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hora.errors import HoraError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LISTS = ("select", "ignore", "exclude")


@dataclass(frozen=True)
class Settings:
    """Which rules are asked, and of which files.

    Attributes
    ----------
    root
        The directory that patterns of files are relative to.
    select, ignore
        Codes, or how they begin: ``"HR6"`` stands for all of HR601 to HR606. What is ignored is not selected.
    exclude
        Patterns of files and directories that are not looked at.
    per_file_ignores
        Codes to ignore by pattern of file.
    """

    root: Path
    select: tuple[str, ...] = ("HR",)
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    per_file_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def asks(self, code: str, path: Path) -> bool:
        """Whether a rule is asked about a file."""
        ignored = [*self.ignore]
        for pattern, codes in self.per_file_ignores.items():
            if self._matches(path, pattern):
                ignored += codes
        return code.startswith(self.select) and not code.startswith(tuple(ignored))

    def excluded(self, path: Path) -> bool:
        """Whether a file or directory is not looked at."""
        return any(self._matches(path, pattern) for pattern in self.exclude)

    def _matches(self, path: Path, pattern: str) -> bool:
        """Whether a pattern means a path, one of its directories, or its name."""
        full = path.resolve()
        inside = full.relative_to(self.root).as_posix() if full.is_relative_to(self.root) else full.as_posix()
        parts = inside.split("/")
        heads = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        plain = pattern.removeprefix("./").rstrip("/")
        return any(fnmatch(one, plain) for one in (*heads, *parts))

    def given(self, select: Sequence[str], ignore: Sequence[str]) -> Settings:
        """Give the settings with what the command line says: its select counts alone, its ignore is added."""
        for code in (*select, *ignore):
            _check_code(code, "check --select/--ignore")
        chosen = replace(self, select=tuple(select)) if select else self
        return replace(chosen, ignore=(*chosen.ignore, *ignore))


def find_settings(start: Path) -> Settings:
    """Read the settings of the nearest ``pyproject.toml`` at or above a path.

    Raises
    ------
    HoraError
        It cannot be read, or says what is not known.
    """
    here = start.resolve()
    for directory in (here, *here.parents):
        file = directory / "pyproject.toml"
        if file.is_file():
            return _read(file)
    return Settings(here if here.is_dir() else here.parent)


def _read(file: Path) -> Settings:
    """Read the settings of a file."""
    asked = f"read {file}"
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("hora", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise HoraError(asked, f"it cannot be read: {error}", "Mend the file.") from None
    known = (*_LISTS, "per-file-ignores")
    unknown = [str(name) for name in table if name not in known]
    if unknown:
        raise HoraError(asked, f"[tool.hora] has no setting {unknown[0]!r}", f"There are: {', '.join(known)}.")
    lists = {name: _texts(asked, name, table[name]) for name in _LISTS if name in table}
    ignores = table.get("per-file-ignores", {})
    if not isinstance(ignores, dict):
        raise HoraError(asked, "per-file-ignores is no table", 'Write "tests/*" = ["HR602"] below it.')
    by_file = {pattern: _texts(asked, f"per-file-ignores of {pattern}", codes) for pattern, codes in ignores.items()}
    for code in (
        *lists.get("select", ()),
        *lists.get("ignore", ()),
        *(one for codes in by_file.values() for one in codes),
    ):
        _check_code(code, asked)
    return Settings(file.parent, per_file_ignores=by_file, **lists)


def _texts(asked: str, name: str, value: Any) -> tuple[str, ...]:
    """Give a list of texts."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise HoraError(asked, f"{name} is no list of texts", f'Write {name} = ["..."].')
    return tuple(value)


def _check_code(code: str, asked: str) -> None:
    """Raise where a text is not how a code begins."""
    if not ("HR".startswith(code) or (code.startswith("HR") and code[2:].isdigit() and len(code) <= 5)) or not code:
        raise HoraError(asked, f"{code!r} is no code of a rule", "Codes are HR301, or HR3 for all that begin so.")
