"""The projects: ``trainer/before`` with its ``main.py``, and ``trainer/after``, all that is written for it.

``python tests/convert/project_files.py`` writes ``after`` anew: read the difference before you keep it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from hora.convert import convert, write

ROOT = Path(__file__).parent / "projects"


def projects() -> list[Path]:
    """Give every project."""
    return sorted(path.parent for path in ROOT.glob("*/before"))


def contents(directory: Path) -> dict[str, str]:
    """Give the Python files of a directory, by their places in it."""
    return {str(path.relative_to(directory)): path.read_text() for path in sorted(directory.rglob("*.py"))}


def accept() -> None:
    """Write what every project becomes."""
    for project in projects():
        shutil.rmtree(project / "after", ignore_errors=True)
        write(convert(project / "before" / "main.py"), f"{project / 'after'}/")


if __name__ == "__main__":
    accept()
