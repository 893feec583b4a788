"""Grades exercise 2: `hora verify` holds the reader's file on three workers against the original on one."""

from __future__ import annotations

from pathlib import Path

from hora.errors import HoraError
from hora.learn.grading.checks import Check, Grade
from hora.learn.judging import script
from hora.verify import Verification, verify

WORKERS = 3
_HINTS = {
    "HR201": "Let hvd.deal hand out the batches",
    "HR206": "Slices of unequal size count by their samples: multiply the loss by loader.weight",
    "HR301": "An optimizer that averages is a wrapped one: hvd.DistributedOptimizer(optimizer)",
    "HR302": "All workers start equal: hvd.broadcast_parameters(model.state_dict(), root_rank=0), before the loop",
    "HR401": "The global batch is still 16, so the rate stays what it was",
}


def grade(path: Path) -> Grade:
    """Grade a reader's file."""
    try:
        result = verify(script("exercise_2"), path, workers=WORKERS, steps=6, timeout=60.0)
    except HoraError as error:
        return Grade((Check("it is a script that can be verified", f"{error.found}. {error.mend}"),))
    return Grade((Check(f"{WORKERS} workers train what one worker trains", fault_of(result)),))


def fault_of(result: Verification) -> str | None:
    """Return why a verification was not passed, with a hint where its rule has one."""
    if result.verdict == "equivalent":
        return None
    words = result.verdict.replace("-", " ").upper()
    return f"{words}: {result.why}. {_HINTS.get(result.cause or '', result.next)}"
