"""The runs that a comparison needs, each made once, and in which precision they are compared."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from hora.verify.evidence import Evidence
from hora.verify.judge import judge
from hora.verify.result import Precision, Verification
from hora.verify.runs import Run, Runner, Script

_PERMUTATIONS = (1, 2, 3)


class Runs:
    """The runs of one script: those of one worker in each precision, kept, and those of several against them."""

    def __init__(
        self,
        runner: Runner,
        pool: ThreadPoolExecutor,
        one: Script,
        several: Script,
        progress: Callable[[str], None],
    ) -> None:
        self._runner, self._pool, self._one, self._several, self._progress = runner, pool, one, several, progress
        self._reference: dict[Precision, Run] = {}
        self._repeated: dict[Precision, tuple[Run, ...]] = {}

    def reference(self, precision: Precision) -> Run:
        """One worker, and what it computes in each step."""
        if precision not in self._reference:
            self._progress(f"one worker, {precision}: the reference")
            self._reference[precision] = self._runner.run(
                f"reference-{precision}", self._one, 1, records=True, float64=precision == "float64"
            )
        return self._reference[precision]

    def repeated(self, precision: Precision) -> tuple[Run, ...]:
        """One worker on the same batches, permuted within."""
        if precision not in self._repeated:
            replay = self.reference(precision).training_passes()
            self._repeated[precision] = tuple(
                self._runner.run(
                    f"permuted-{precision}-{seed}",
                    self._one,
                    1,
                    compares=True,
                    float64=precision == "float64",
                    replay=replay,
                    permutation=seed,
                )
                for seed in _PERMUTATIONS
            )
        return self._repeated[precision]

    def replayed(self, precision: Precision, workers: int) -> Future[Run]:
        """Several workers on the same batches."""
        replay = self.reference(precision).training_passes()
        self._progress(f"{workers} workers on the same batches, and one on permuted ones for the noise floor")
        return self._pool.submit(
            self._runner.run,
            f"replayed-{precision}-{workers}",
            self._several,
            workers,
            compares=True,
            float64=precision == "float64",
            replay=replay,
        )


def answer(runs: Runs, workers: int, free: Future[Run], *, next_command: str) -> Verification:
    """Compare in double precision, or in single where double is what makes the runs fail."""
    if not runs.reference("float64").failed:
        evidence = _evidence(runs, "float64", workers, free)
        if isinstance(evidence, Verification):
            return evidence
        if not evidence.replayed.failed or evidence.free.failed:
            return judge(evidence, next_command=next_command)
    evidence = _evidence(runs, "float32", workers, free)
    return evidence if isinstance(evidence, Verification) else judge(evidence, next_command=next_command)


def _evidence(runs: Runs, precision: Precision, workers: int, free: Future[Run]) -> Evidence | Verification:
    reference = runs.reference(precision)
    unusable = _unusable(reference, workers)
    if unusable is not None:
        return unusable
    replayed = runs.replayed(precision, workers)
    return Evidence(reference, runs.repeated(precision), free.result(), replayed.result(), precision)


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
    return None
