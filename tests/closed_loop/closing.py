"""Close the loop: what does `verify` say of conversions that are wrong in a known way, and of right ones?

python tests/closed_loop/closing.py docs/closed_loop.md     # everything, about twenty minutes on two cores
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from wrong import (
    CHAR_LM,
    CLIPS,
    DCGAN,
    DIGITS,
    FASHION,
    HIGH_RESOLUTION,
    MASKED_LM,
    TONES,
    Case,
    Example,
    bugs,
    left_out,
    seeded,
)

from hora.verify.comparison import answer
from hora.verify.experiment import confirm
from hora.verify.result import Verification
from hora.verify.runs import Script
from hora.verify.verify import comparing, verify_each
from hora.verify.zygotes import kept_warm

STEPS = 12
EXAMPLES = (DIGITS, FASHION, CHAR_LM, DCGAN, MASKED_LM, TONES, CLIPS, HIGH_RESOLUTION)


@dataclass(frozen=True)
class Outcome:
    """What came of a case."""

    case: Case
    result: Verification

    @property
    def detected(self) -> bool:
        """Whether the wrong conversion is called wrong."""
        return self.result.verdict == "not-equivalent"

    @property
    def named(self) -> bool | None:
        """Whether its cause is the right rule; None where no rule names it."""
        return self.result.cause in self.case.expected if self.case.expected else None


def outcomes(cases: Iterable[Case]) -> Iterable[Outcome]:
    """Verify each case; those of one original that follow one another share its runs on one worker."""
    for (example, original), group in groupby(cases, lambda case: (case.example, case.original)):
        with tempfile.TemporaryDirectory(prefix="hora-loop-") as directory:
            # Beside copies of nothing: the examples import no modules of their own.
            path, twin = Path(directory) / example.path.name, Path(directory) / f"{example.path.stem}_hora.py"
            path.write_text(original, encoding="utf-8")
            one = Script(path, example.arguments)
            several = Script(twin, example.arguments)
            with comparing(one, several, steps=STEPS, seed=0, timeout=120, progress=lambda _: None) as runs:
                for number, case in enumerate(group):
                    twin.write_text(case.converted, encoding="utf-8")
                    wrong = runs.mended(f"case-{number}", ((twin, case.converted.encode()),))
                    result = answer(wrong, case.workers, next_command="")
                    yield Outcome(case, confirm(wrong, result, twin) if result.verdict == "not-equivalent" else result)


def false_alarms(example: Example, seeds: Iterable[int], directory: Path) -> list[tuple[int, Verification]]:
    """The right conversion with 2, 3 and 4 workers and several seeds: every answer, each of which should be a yes.

    A seed is the script's own, so that weights, orders and noise are others, and that of what `verify` draws.
    """
    path = directory / example.path.name
    answers = []
    for seed in seeds:
        path.write_text(seeded(example, seed), encoding="utf-8")
        found = verify_each(path, workers=[2, 3, 4], args=example.arguments, steps=STEPS, seed=seed, timeout=300)
        answers += [(seed, result) for result in found]
    return answers


def every_case(directory: Path) -> list[Case]:
    """All of them, those of one example together."""
    cases = []
    for example in EXAMPLES:
        cases += left_out(example, directory)
    return cases + list(bugs())


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5, help="of the right conversions")
    args = parser.parse_args()
    out = args.out.absolute()
    with tempfile.TemporaryDirectory() as directory, kept_warm():
        os.chdir(directory)
        began = time.monotonic()
        found = []
        for outcome in outcomes(every_case(Path(directory))):
            found.append(outcome)
            print(_row(outcome), flush=True)
        alarms = []
        for example in EXAMPLES:
            answers = false_alarms(example, range(args.seeds), Path(directory))
            alarms.append((example, answers))
            print(_alarm_row(example, answers), flush=True)
    out.write_text(_page(found, alarms, args.seeds, time.monotonic() - began), encoding="utf-8")


def _page(
    found: list[Outcome], alarms: list[tuple[Example, list[tuple[int, Verification]]]], seeds: int, seconds: float
) -> str:
    named = [outcome.named for outcome in found if outcome.named is not None]
    answers = [result for _, own in alarms for _, result in own]
    head = f"""# The closed loop

A conversion with one rule left out is a bug with a known name. `verify` has to see it, and to name it; and it has to
find nothing in the conversion that is whole.

Made by `python tests/closed_loop/closing.py docs/closed_loop.md --seeds {seeds}` on {datetime.date.today()} in
{seconds / 60:.0f} minutes on two cores. CI runs a tenth of the table, another one each day.

**{sum(o.detected for o in found)} of {len(found)} detected, {sum(named)} of {len(named)} named right,
{sum(a.verdict != "equivalent" for a in answers)} false alarms in {len(answers)} verifications of right conversions.**

Where a seed would make a rule redundant (HR302, HR502) the example runs without it. *Confirmed*: mending the script
by the named rule made the difference go away. Where no rule names a bug, detecting it is all there is to ask.

| example | wrong | workers | detected | named | confirmed | what verify says |
|---|---|---|---|---|---|---|
"""
    tail = """
## Right conversions

| example | workers | seeds | EQUIVALENT | largest difference | noise floor |
|---|---|---|---|---|---|
"""
    return (
        head
        + "".join(_row(outcome) + "\n" for outcome in found)
        + tail
        + "".join(_alarm_row(example, own) + "\n" for example, own in alarms)
    )


def _row(outcome: Outcome) -> str:
    case, result = outcome.case, outcome.result
    named = "" if outcome.named is None else f"{'yes' if outcome.named else 'no'}, {result.cause}"
    confirmed = "yes" if result.confirmed is not None else ""
    detected = "yes" if outcome.detected else f"**no**, {result.verdict}"
    why = result.why.replace("|", "\\|")
    return f"| {case.example.script} | {case.name} | {case.workers} | {detected} | {named} | {confirmed} | {why} |"


def _alarm_row(example: Example, answers: list[tuple[int, Verification]]) -> str:
    seeds = len({seed for seed, _ in answers})
    right = sum(result.verdict == "equivalent" for _, result in answers)
    largest = max((result.max_relative_difference or 0.0 for _, result in answers), default=0.0)
    floor = max((result.noise_floor or 0.0 for _, result in answers), default=0.0)
    return f"| {example.script} | 2, 3, 4 | {seeds} | {right} of {len(answers)} | {largest:.1e} | {floor:.1e} |"


if __name__ == "__main__":
    main()
