"""`hora verify`: whether the converted script on several workers trains what the original trains on one."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from hora.errors import HoraError
from hora.verify.judge import Evidence, judge
from hora.verify.preload import preloaded
from hora.verify.result import Precision, Verification
from hora.verify.runs import Run, Runner, Script

PERMUTATIONS = (1, 2, 3)
STEPS = 20


def verify(
    original: Path,
    converted: Path | None = None,
    *,
    workers: int = 2,
    args: Sequence[str] = (),
    steps: int = STEPS,
    seed: int = 0,
    timeout: float = 600.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Compare a script on one worker with its conversion on several.

    Parameters
    ----------
    original
        A training script for one device.
    converted
        The same for several workers; None converts `original` with `hora.convert`.
    workers
        How many.
    args
        The script's own arguments.
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
        For a file that is not a Python script, fewer than one worker, or a script that cannot be converted.
    """
    asked = f"verify {original}"
    if workers < 1:
        raise HoraError(asked, f"{workers} workers to compare with one", "Ask for at least one: -n 2")
    if steps < 2:
        raise HoraError(asked, f"{steps} steps, and two epochs have to end", "Ask for at least two: --steps 20")
    for path in (original, converted):
        if path is not None:
            _check_script(asked, path)
    text = None
    if converted is None:
        progress("converting")
        text = _converted_text(asked, original)
    one = Script(original, tuple(args))
    several = Script(converted or original, tuple(args), converted=True, text=text)
    with (
        tempfile.TemporaryDirectory(prefix="hora-") as directory,
        Runner(
            Path(directory).resolve(),
            preload=preloaded(original.read_bytes()),
            steps=steps,
            seed=seed,
            timeout=timeout,
        ) as runner,
    ):
        gathered = _gather(runner, one, several, workers, progress)
    if isinstance(gathered, Verification):
        return gathered
    command = f"hora run -n {workers} {converted or 'CONVERTED.py'} {' '.join(args)}".strip()
    if converted is None:
        command = f"hora convert {original} -o CONVERTED.py && {command}"
    return judge(gathered, next_command=command)


def _gather(
    runner: Runner, one: Script, several: Script, workers: int, progress: Callable[[str], None]
) -> Evidence | Verification:
    """Run everything that the verdict needs; a verdict where already the original cannot be run."""
    with ThreadPoolExecutor(max_workers=3) as pool:
        try:
            free = pool.submit(runner.run, "free", several, workers, free=True)
            gathered = _compared(runner, one, several, workers, "float64", free, pool, progress)
            if gathered is None:
                progress("float64 does not work here")
                gathered = _compared(runner, one, several, workers, "float32", free, pool, progress)
            if isinstance(gathered, Verification):
                runner.stop()
        except BaseException:
            # The pool waits for its threads, and they for their workers.
            runner.stop()
            raise
    assert gathered is not None, "the runs in float32 decide"
    return gathered


def _compared(
    runner: Runner,
    one: Script,
    several: Script,
    workers: int,
    precision: Precision,
    free: Future[Run],
    pool: ThreadPoolExecutor,
    progress: Callable[[str], None],
) -> Evidence | Verification | None:
    """Run the reference and what is held against it in one precision; None where float64 is what makes them fail."""
    double = precision == "float64"
    progress(f"one worker, {precision}: the reference")
    reference = runner.run(f"reference-{precision}", one, 1, records=True, float64=double)
    if reference.failed and double:
        return None
    unusable = _unusable(reference, workers)
    if unusable is not None:
        return unusable
    progress(f"{workers} workers on the same batches, and one on permuted ones for the noise floor")
    replay = reference.training_passes()
    replayed = pool.submit(
        runner.run, f"replayed-{precision}", several, workers, compares=True, float64=double, replay=replay
    )
    permuted = tuple(
        runner.run(
            f"permuted-{precision}-{seed}", one, 1, compares=True, float64=double, replay=replay, permutation=seed
        )
        for seed in PERMUTATIONS
    )
    evidence = Evidence(reference, permuted, free.result(), replayed.result(), precision)
    return None if double and evidence.replayed.failed and not evidence.free.failed else evidence


def _unusable(reference: Run, workers: int) -> Verification | None:
    """The answer where the original gives nothing to compare with."""

    def cannot_tell(why: str, next_: str) -> Verification:
        return Verification("cannot-tell", why, next_, workers, len(reference.steps()), precision="float32")

    if reference.failed:
        last = (reference.error or "no message").strip().splitlines()[-1]
        return cannot_tell(
            f"the original script itself fails on one worker: {last}", "Run it with plain python and mend that first"
        )
    if not reference.steps():
        return cannot_tell(
            "no optimizer steps in the original script as it was run", "Give the arguments that make it train, after --"
        )
    if not reference.training_passes():
        return cannot_tell(
            "its batches do not come from a DataLoader over numbered samples: they cannot be recorded and dealt again",
            "Put the samples behind a map-style Dataset and a DataLoader",
        )
    return None


def _check_script(asked: str, path: Path) -> None:
    if not path.is_file():
        found = "that is a directory" if path.is_dir() else f"there is no file {path}"
        raise HoraError(asked, found, "Name a Python script")
    try:
        ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise HoraError(asked, f"{path} is not Python {line.lstrip(', ')}".rstrip(), "Name a Python 3 script") from None


def _converted_text(asked: str, original: Path) -> str:
    from hora.convert import convert

    conversion = convert(original)
    if conversion.refusals:
        first = conversion.refusals[0]
        raise HoraError(
            asked,
            f"it cannot be converted: {original}:{first.line}: {first.code} {first.message}",
            "Convert it by hand and name the result: hora verify ORIGINAL CONVERTED",
            status=1,
        )
    return conversion.converted
