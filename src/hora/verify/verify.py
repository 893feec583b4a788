"""`hora verify`: whether the converted script on several workers trains what the original trains on one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hora.convert import Conversion, convert
from hora.convert.source import read
from hora.errors import HoraError
from hora.script.mirror import PREFIX
from hora.verify.comparison import Runs, answer
from hora.verify.experiment import confirm, joining, sorted_sets
from hora.verify.preload import preloaded
from hora.verify.result import Verification
from hora.verify.runs import Runner, Script
from hora.verify.zygotes import zygotes

STEPS = 20
_IN_ORDER = "compared with the original whose sets of strings are sorted: their order is another in each of its runs"

_GLOBAL_BATCH = "Give the one worker the global batch, if each worker means its own: --alone '...' takes its arguments"


def verify(
    original: Path,
    converted: Path | None = None,
    *,
    workers: int = 2,
    args: Sequence[str] = (),
    alone: Sequence[str] | None = None,
    scaling: str = "strong",
    steps: int = STEPS,
    seed: int = 0,
    timeout: float = 600.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Compare a script on one worker with its conversion on several.

    Parameters
    ----------
    original
        A training script for one device, or one that is distributed already.
    converted
        The same for several workers; None converts `original` with `hora.convert`, or takes it as it is where it is
        distributed already: the reference is then its own run with one worker.
    workers
        How many.
    args
        The script's own arguments.
    alone
        Those of the one worker, where they are others: the global batch of a script that is told that of a worker.
    scaling
        With ``"weak"`` the workers are held against one that trains on as many batches of the original at once as there
        are workers, at the rate that `hora convert --scaling weak` gives it: N times as large, with a warm-up.
    steps
        Global batches to train on. Each pass over a loader is cut to half of them, so that two of the script's epochs
        end.
    seed
        State of the random numbers that the reference starts with.
    timeout
        Seconds that each of the runs may take.
    progress
        Told in a few words what is going on.

    Raises
    ------
    HoraError
        For a file that is not a Python script, fewer than one worker, a script that cannot be converted, or for weak
        scaling one that is distributed already.
    """
    (result,) = verify_each(
        original,
        converted,
        workers=[workers],
        args=args,
        alone=alone,
        scaling=scaling,
        steps=steps,
        seed=seed,
        timeout=timeout,
        progress=progress,
    )
    return result


def verify_each(
    original: Path,
    converted: Path | None = None,
    *,
    workers: Sequence[int],
    args: Sequence[str] = (),
    alone: Sequence[str] | None = None,
    scaling: str = "strong",
    steps: int = STEPS,
    seed: int = 0,
    timeout: float = 600.0,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Verification, ...]:
    """Answer as `verify` does for each of several numbers of workers; the one worker runs once for all of them."""
    asked = f"verify {original}"
    for number in workers:
        if number < 1:
            raise HoraError(asked, f"{number} workers to compare with one", "Ask for at least one: -n 2")
    if scaling not in ("strong", "weak"):
        raise HoraError(f"{asked} --scaling {scaling}", "there is no such scaling", "Name strong or weak")
    if scaling == "weak" and alone is not None:
        found = "both say what one worker trains on"
        raise HoraError(f"{asked} --scaling weak --alone ...", found, "Leave out one of them")
    if alone is not None and len(workers) > 1:
        found = f"{len(workers)} numbers of workers, and one global batch to give the one worker"
        raise HoraError(asked, found, "Ask for one number: -n 2 --alone '...'")
    if steps < 2:
        raise HoraError(asked, f"{steps} steps, and two epochs have to end", "Ask for at least two: --steps 20")
    for path in (original, converted):
        if path is not None:
            read(path, asked)
    if scaling == "weak" and len(workers) > 1:
        # The one worker is another for each of them.
        return tuple(
            verify(
                original,
                converted,
                workers=number,
                args=args,
                scaling=scaling,
                steps=steps,
                seed=seed,
                timeout=timeout,
                progress=progress,
            )
            for number in workers
        )
    joined = _joining_texts(asked, original) if scaling == "weak" else ()
    texts = _converted_texts(asked, original, scaling) if converted is None else ()
    itself = converted is None and not texts
    out, made = ("DIR/", f"DIR/{original.name}") if len(texts) > 1 else ("CONVERTED.py", "CONVERTED.py")
    weakly = " --scaling weak" if joined else ""
    making, made = (
        (f"hora convert {original}{weakly} -o {out} && ", made) if texts else ("", str(converted or original))
    )
    at_once = workers[0] if joined else 1
    one = Script(original, tuple(args if alone is None else alone), texts=joined, joined=at_once)
    several = Script(converted or original, tuple(args), texts=texts)
    with comparing(one, several, steps=steps, seed=seed, timeout=timeout, progress=progress) as runs:
        for number in workers:
            runs.free(number)
        results, in_order = [], False
        for number in workers:
            command = f"{making}hora run -n {number} {made} {' '.join(args)}".strip()
            result = answer(runs, number, next_command=command)
            text = sorted_sets(original) if result.verdict == "not-equivalent" and not in_order and not joined else None
            if text is not None:
                progress("the original again, its sets of strings in order")
                runs, in_order = runs.against(text), True
                result = answer(runs, number, next_command=command)
            if in_order:
                result = replace(result, remarks=(*result.remarks, _IN_ORDER))
            if result.verdict == "cannot-tell" and not result.by_step:
                # Nothing to compare with: the other numbers of workers get the same answer.
                return tuple(replace(result, workers=number) for number in workers)
            if result.verdict == "not-equivalent" and converted is not None:
                progress("looking for the rule that explains it")
                result = confirm(runs, result, converted)
            if itself and alone is None and result.cause == "HR201":
                result = replace(result, next=_GLOBAL_BATCH)
            results.append(result)
    return tuple(results)


@contextmanager
def comparing(
    one: Script, several: Script, *, steps: int, seed: int, timeout: float, progress: Callable[[str], None]
) -> Iterator[Runs]:
    """Give the runs of a script on one worker and on several; what is under way ends with the block."""
    text = dict(one.texts).get(one.path) or one.path.read_bytes()
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX) as directory,
        zygotes(preloaded(text)) as pair,
        ThreadPoolExecutor(max_workers=2) as pool,
    ):
        runner = Runner(Path(directory).resolve(), zygotes=pair, steps=steps, seed=seed, timeout=timeout)
        try:
            yield Runs(runner, pool, one, several, progress)
        finally:
            # The pool waits for its threads, and they for their workers.
            runner.stop()


def _converted_texts(asked: str, original: Path, scaling: str) -> tuple[tuple[Path, bytes], ...]:
    """Give the files of the conversion; none for a script that is distributed already."""
    conversion = convert(original, scaling=scaling)
    if any(one.code == "HR907" for one in conversion.refusals):
        return ()
    return _unless_refused(asked, conversion, "Convert it by hand and name the result: hora verify ORIGINAL CONVERTED")


def _joining_texts(asked: str, original: Path) -> tuple[tuple[Path, bytes], ...]:
    """Give the files of a script that trains several batches at once on one worker, at the rate for them."""
    conversion = joining(original)
    mend = "Give the one worker the global batch and its rate: hora verify ORIGINAL CONVERTED --alone '...'"
    return _unless_refused(f"{asked} --scaling weak", conversion, mend)


def _unless_refused(asked: str, conversion: Conversion, mend: str) -> tuple[tuple[Path, bytes], ...]:
    if conversion.refusals:
        first = conversion.refusals[0]
        found = f"it cannot be converted: {first.file}:{first.line}: {first.code} {first.message}"
        raise HoraError(asked, found, mend, status=1)
    return conversion.contents
