"""Grades exercise 4: `hora check` looks for steps that are missing, `hora verify` runs the file on three workers."""

from __future__ import annotations

from pathlib import Path

from hora.convert import Finding, check
from hora.errors import HoraError
from hora.learn.grading.checks import Check, Grade
from hora.learn.grading.lesson_2 import WORKERS, fault_of
from hora.learn.judging import script
from hora.learn.steps import STEPS
from hora.verify import verify


def grade(path: Path) -> Grade:
    """Grade a reader's file."""
    try:
        findings = check(path)
        result = verify(script("train"), path, workers=WORKERS, steps=6, timeout=60.0)
    except HoraError as error:
        return Grade((Check("it is a training script", f"{error.found}. {error.mend}"),))
    steps = tuple(
        Check(f"{step.number}. {step.title}", next((_told(one) for one in findings if one.code in step.codes), None))
        for step in STEPS
    )
    others = [_told(one) for one in findings if not any(one.code in step.codes for step in STEPS)]
    return Grade(
        (
            *steps,
            Check("hora check finds nothing else", others[0] if others else None),
            Check(f"{WORKERS} workers train what one worker trains", fault_of(result)),
        )
    )


def _told(finding: Finding) -> str:
    return f"Line {finding.line}, {finding.code}: {finding.message}"
