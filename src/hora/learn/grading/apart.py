"""Runs a grader that imports the reader's file in a process of its own: it may loop for ever, or end the process."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hora.learn.grading.checks import Check, Grade

SECONDS = 60.0


def grade_apart(module: str, path: Path, *, seconds: float = SECONDS) -> Grade:
    """Call ``judge(names)`` of a module on the names that the file at `path` defines, and return the grade.

    `judge` returns checks. A file that cannot be imported, or does not come to an end, is a fault.
    """
    with tempfile.TemporaryDirectory(prefix="hora-") as directory:
        answer = Path(directory) / "grade.json"
        command = [sys.executable, "-m", __name__, module, str(path.resolve()), str(answer)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return Grade(
                (Check("it comes to an end", f"It did not within {seconds:g} s: look for a loop that never ends"),)
            )
        if not answer.is_file():
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            return Grade((Check("it can be imported", f"Python says: {last}"),))
        return Grade(tuple(Check(**one) for one in json.loads(answer.read_text(encoding="utf-8"))))


def _main(module: str, path: str, answer: str) -> None:
    names: Mapping[str, Any] = _imported(Path(path))
    checks: tuple[Check, ...] = importlib.import_module(module).judge(names)
    Path(answer).write_text(
        json.dumps([{"asked": check.asked, "fault": check.fault} for check in checks]), encoding="utf-8"
    )


def _imported(path: Path) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "exercise", "__file__": str(path)}
    exec(compile(path.read_bytes(), str(path), "exec"), names)
    return names


if __name__ == "__main__":
    _main(*sys.argv[1:])
