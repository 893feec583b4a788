"""The fixtures of the rules: ``HR301/case.in.py``, what it becomes (``.out.py``) and what is found (``.findings``).

A refused case has no ``.out.py``. ``python tests/convert/fixture_files.py`` writes both files of every case anew: read
the difference before you keep it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hora.convert import Conversion, check, convert

ROOT = Path(__file__).parent / "fixtures"


def cases() -> list[Path]:
    """Give every case's input."""
    return sorted(ROOT.glob("*/*.in.py"))


def output(case: Path) -> Path:
    """Give where a case's converted script is kept."""
    return case.with_name(case.name.replace(".in.py", ".out.py"))


def findings(case: Path) -> Path:
    """Give where a case's findings are kept."""
    return case.with_name(case.name.replace(".in.py", ".findings"))


@cache
def converted(case: Path) -> Conversion:
    """Convert a case, once for all who ask."""
    return convert(case)


def found(case: Path) -> str:
    """Give what is found in a case: by a check, and by a conversion in refusals and notes."""
    conversion = converted(case)
    lines = [f"check {one.line}:{one.column} {one.code} {one.message}" for one in check(case)]
    lines += [f"refused {one.line}:{one.column} {one.code} {one.message}" for one in conversion.refusals]
    lines += [f"note {one.line}:{one.column} {one.code} {one.message}" for one in conversion.notes]
    return "".join(f"{line}\n" for line in lines)


def accept() -> None:
    """Write what every case becomes and what is found in it."""
    for case in cases():
        conversion = converted(case)
        output(case).unlink(missing_ok=True)
        if not conversion.refusals:
            output(case).write_bytes(conversion.encoded())
        findings(case).write_text(found(case), encoding="utf-8")


if __name__ == "__main__":
    accept()
