"""Lets Hora judge a script of a lesson: converted whole, or with one rule left out so that it is wrong on purpose."""

from __future__ import annotations

import atexit
import difflib
import tempfile
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hora.convert import convert
from hora.verify import Verification, verify
from hora.verify.report import answer, evidence
from hora.verify.zygotes import kept_warm

_SCRIPTS = Path(__file__).parent / "scripts"
STEPS = 4
"""Steps of a lesson's verifications: two epochs of two batches, the last of each the uneven one."""


@dataclass(frozen=True)
class Judged:
    """A conversion and what `hora verify` says of it.

    Attributes
    ----------
    text
        The converted script.
    missing
        The lines that it lacks, or has instead, beside the whole conversion; as a unified diff without its head.
    verification
        The answer.
    """

    text: str
    missing: str
    verification: Verification


def script(name: str) -> Path:
    """Return a script of the lessons by its name without ``.py``."""
    return _SCRIPTS / f"{name}.py"


@cache
def converted(name: str, *without: str) -> str:
    """Return what `hora convert` writes for a script of the lessons, leaving out the rules of some codes."""
    return convert(script(name), skip=without).converted


def judged(name: str, *, without: Collection[str] = (), workers: int = 2) -> Judged:
    """Convert a script, leaving out the rules of the codes `without`, and verify the result."""
    whole, text = converted(name), converted(name, *without)
    return Judged(text, changed(whole, text), judged_text(script(name), text, workers=workers))


def judged_text(original: Path, text: str, *, workers: int = 2, steps: int = STEPS) -> Verification:
    """Verify the text of a conversion against the original."""
    keep_warm()
    with tempfile.TemporaryDirectory(prefix="hora-") as directory:
        path = Path(directory) / f"{original.stem}_converted.py"
        path.write_text(text, encoding="utf-8")
        return verify(original, path, workers=workers, steps=steps, timeout=120.0)


@cache
def keep_warm() -> None:
    """Let all verifications of this process share the processes that have imported torch, until it ends."""
    warm = ExitStack()
    warm.enter_context(kept_warm())
    atexit.register(warm.close)


def changed(before: str, after: str) -> str:
    """Return the lines in which two texts differ, as a unified diff without its head."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0))[2:]
    return "\n".join(line for line in lines if not line.startswith("@@"))


def as_markdown(result: Verification) -> str:
    """Return the answer and its evidence as a table."""
    rows = [("**verdict**", f"**{answer(result)}**"), ("why", result.why), *evidence(result)]
    if result.cause:
        rows.append(("rule", result.cause))
    return "\n".join(["| hora verify | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows)])


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")
