"""The course: notebooks that teach data-parallel training by running Hora's own rooms, and grade by its own tests."""

from __future__ import annotations

from hora.learn.course import LESSONS, SECOND_HALF, Lesson, lesson
from hora.learn.export import export
from hora.learn.grading import Grade, grade, start
from hora.learn.serve import serve

__all__ = ["LESSONS", "SECOND_HALF", "Grade", "Lesson", "export", "grade", "lesson", "serve", "start"]
