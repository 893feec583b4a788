"""The cause, confirmed by experiment: mend by one rule what the converted script lacks, and compare again.

The rules that convert a script also finish one that is half converted. So what a rule would still change in the
converted script is a testable guess at what is wrong with it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hora.convert import Conversion, convert
from hora.convert.rules import RULES
from hora.errors import HoraError
from hora.verify.cause import REFUTABLE, advice
from hora.verify.comparison import Runs, answer
from hora.verify.result import Confirmation, Difference, Verification

# The rule that brings sets into an order.
SETS = "HR502"
# The rule that refuses a script that is distributed already.
DISTRIBUTED = "HR907"
# What makes of a script one that trains N batches at once, at the rate for them, and leaves the rest of it alone.
_JOINING = frozenset({"HR101", "HR201", "HR204", "HR301", "HR401", SETS, DISTRIBUTED})
# Each experiment runs the script twice more.
_EXPERIMENTS = 3


def confirm(runs: Runs, result: Verification, converted: Path) -> Verification:
    """Give the result with the rule whose fix makes its first difference go away, if one does.

    The rule that the pattern of differences points to is tried first, then the others that would change the script.
    """
    scaling = "weak" if runs.weak else "strong"
    whole = _converted(converted, frozenset(), scaling)
    if whole is None:
        return result
    fixing = dict.fromkeys(edit.code for edit in whole.edits)
    if result.cause in REFUTABLE and result.cause not in fixing:
        result = replace(result, cause=None, next=advice(None))
    for code in sorted(fixing, key=lambda code: code != result.cause)[:_EXPERIMENTS]:
        # What is mended only where this rule has mended before (a sum that it leaves, to be scaled) goes with it.
        without = _converted(converted, frozenset({code}), scaling)
        others = set(fixing) if without is None else {edit.code for edit in without.edits}
        alone = _converted(converted, frozenset(others - {code}), scaling)
        edit = next((one for one in alone.edits if one.code == code), None) if alone is not None else None
        if alone is None or edit is None:
            continue
        again = answer(runs.mended(code, alone.contents), result.workers, next_command=result.next)
        if _gone(result.first_difference, again.first_difference):
            return replace(
                result,
                cause=code,
                confirmed=Confirmation(code, edit.reason, edit.line, edit.text),
                next=f"hora convert {converted} --in-place{' --scaling weak' * runs.weak}",
            )
    return result


def sorted_sets(original: Path) -> str | None:
    """The text of a script with its sets of strings in order, as it is converted; None where their order is not kept.

    A set's order is another in each run of the original itself, so that any may be compared with.
    """
    sets = _converted(original, frozenset(rule.CODE for rule in RULES if rule.CODE != SETS))
    if sets is None or not sets.edits or any("sorted(" not in edit.text for edit in sets.edits):
        return None
    return sets.converted


def joining(original: Path) -> Conversion:
    """The script with what `hora.script.joined` needs: its loaders joined, its rates N times as large and warmed up."""
    return convert(original, skip=frozenset(rule.CODE for rule in RULES) - _JOINING, scaling="weak")


def _gone(before: Difference | None, after: Difference | None) -> bool:
    """Whether what differs first is something else now, further on."""
    if after is None:
        return True
    if before is None or after.quantity == "failure":
        return False
    return (before.quantity, before.step, before.tensor) != (after.quantity, after.step, after.tensor)


def _converted(path: Path, skip: frozenset[str], scaling: str = "strong") -> Conversion | None:
    """What the rules but for some would make of a converted script, None where they cannot tell."""
    try:
        conversion = convert(path, skip=skip, scaling=scaling)
    except HoraError:
        return None
    return None if conversion.refusals else conversion
