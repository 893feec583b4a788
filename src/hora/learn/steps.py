"""The seven steps from one device to several workers: what each is for, and the rules of Hora that stand for it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hora.convert import Finding, check
from hora.learn.judging import Judged, changed, converted, judged, judged_text, script


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes
    ----------
    number, title, why
        Its place, what to do, and what happens otherwise.
    codes
        The rules that hold it.
    line
        The one line to take out, where leaving the rules out would take all that stands on them, too.
    """

    number: int
    title: str
    why: str
    codes: tuple[str, ...]
    line: str = ""


STEPS = (
    Step(1, "Start the runtime", "Without it no worker knows its rank, nor the others.", ("HR101",), "hvd.init()"),
    Step(2, "Take a device of your own", "Otherwise all workers of a machine use its first GPU.", ("HR102",)),
    Step(3, "Deal the batches", "Otherwise each worker trains on all of the data, in its own order.", ("HR201",)),
    Step(4, "Weigh the slices", "A mean of means is wrong where a batch is cut unevenly.", ("HR206",)),
    Step(5, "Average the gradients", "Otherwise each worker trains a network of its own.", ("HR301",)),
    Step(6, "Start equal", "Otherwise equal steps are made from unequal weights.", ("HR302",)),
    Step(
        7,
        "Speak and save once",
        "Otherwise each worker prints the loss of its part, and all write one file.",
        ("HR601", "HR602", "HR603"),
    ),
)


@dataclass(frozen=True)
class Broken:
    """A script that lacks one step: what `hora check` finds in it, and what `hora verify` says of it."""

    step: Step
    findings: tuple[Finding, ...]
    judged: Judged


def broken(step: Step, name: str = "train", *, workers: int = 2) -> Broken:
    """Convert a script without one step, and let Hora judge the result."""
    if step.line:
        whole = converted(name)
        text = "".join(line for line in whole.splitlines(keepends=True) if line.strip() != step.line)
        result = Judged(text, changed(whole, text), judged_text(script(name), text, workers=workers))
    else:
        result = judged(name, without=step.codes, workers=workers)
    return Broken(step, findings(result.text), result)


def findings(text: str) -> tuple[Finding, ...]:
    """Return what `hora check` finds in a script's text."""
    with tempfile.TemporaryDirectory(prefix="hora-") as directory:
        path = Path(directory) / "script.py"
        path.write_text(text, encoding="utf-8")
        return check(path)
