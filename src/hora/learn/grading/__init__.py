"""Grades the readers' files by running them: what is wrong is said in words that help to mend it."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

from hora.errors import HoraError
from hora.learn.course import lesson
from hora.learn.grading.checks import Grade

__all__ = ["Grade", "grade", "start"]

_EXERCISES = Path(__file__).parent.parent / "exercises"


def start(number: int, directory: Path | None = None) -> Path:
    """Write the file that exercise `number` starts from, if it is not there yet, and return its path.

    Raises
    ------
    HoraError
        There is no such lesson, or the file cannot be written.
    """
    name = lesson(number).answer_name
    path = (directory or Path.cwd()) / name
    if not path.exists():
        try:
            shutil.copyfile(_EXERCISES / name, path)
        except OSError as error:
            raise HoraError(
                f"write {path}", f"it cannot be written: {error.strerror}", "Start the course elsewhere."
            ) from None
    return path


def grade(number: int, path: Path | None = None) -> Grade:
    """Grade the reader's file for exercise `number`, by default the one in this directory.

    Raises
    ------
    HoraError
        There is no such lesson, or no such file.
    """
    path = path or Path.cwd() / lesson(number).answer_name
    if not path.is_file():
        lesson_command = f"hora learn {number}"
        raise HoraError(
            f"{lesson_command} --grade {path}", "there is no such file", f"Let the lesson write it: {lesson_command}"
        )
    grader = importlib.import_module(f"hora.learn.grading.lesson_{number}")
    result: Grade = grader.grade(path)
    return result
