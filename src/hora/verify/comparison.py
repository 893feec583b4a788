"""The runs that a comparison needs, each made once, and in which precision they are compared."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from pathlib import Path

from hora.verify import coverage
from hora.verify.evidence import Evidence, worst
from hora.verify.floor import Floor
from hora.verify.judge import judge
from hora.verify.result import Precision, Verification
from hora.verify.runs import Run, Runner, Script

_PERMUTATIONS = (1, 2, 3)


class Runs:
    """The runs of one script: those of one worker in each precision, kept, and those of several against them.

    Attributes
    ----------
    by_steps
        No loader hands out what the script trains on: its runs end by their optimizer steps.
    alike
        One worker is given the same arguments as several.
    weak
        One worker trains on as many batches at once as there are workers.
    """

    def __init__(
        self,
        runner: Runner,
        pool: ThreadPoolExecutor,
        one: Script,
        several: Script,
        progress: Callable[[str], None],
    ) -> None:
        self._runner, self._pool, self._one, self._several, self._progress = runner, pool, one, several, progress
        self._name = "converted"
        self._reference: dict[Precision, Run] = {}
        self._repeated: dict[Precision, tuple[tuple[Run, ...], bool]] = {}
        self._free: dict[tuple[int, bool], Future[Run]] = {}
        self._plain: Run | None = None
        self.by_steps = False
        self.alike = one.args == several.args
        self.weak = one.joined > 1

    def mended(self, name: str, texts: tuple[tuple[Path, bytes], ...]) -> Runs:
        """The same runs of one worker, and those of several with other texts of their script's files."""
        other = copy(self)
        other._several, other._name, other._free = replace(self._several, texts=texts), name, {}
        return other

    def against(self, text: str) -> Runs:
        """The same runs of several workers, and those of one with another text of its script."""
        one = replace(self._one, texts=((self._one.path, text.encode()),))
        return Runs(self._runner.beside("other-original"), self._pool, one, self._several, self._progress)

    def reference(self, precision: Precision) -> Run:
        """One worker, and what it computes in each step."""
        if precision not in self._reference:
            self._progress(f"one worker, {precision}: the reference")
            run = self._recorded(f"reference-{precision}", precision)
            if run.steps() and not run.failed and not run.training_passes() and not self.by_steps:
                self.by_steps = True
                run = self._recorded(f"reference-{precision}-by-steps", precision)
            self._reference[precision] = run
        return self._reference[precision]

    def _recorded(self, name: str, precision: Precision) -> Run:
        return self._runner.run(
            name, self._one, 1, records=True, float64=precision == "float64", by_steps=self.by_steps
        )

    def repeated(self, precision: Precision) -> tuple[tuple[Run, ...], bool]:
        """One worker on the same batches, and whether they are permuted within.

        Where nearly every gradient is noise because of the permutation, and none without it, the script pairs samples
        with random numbers by their places, as one that adds noise to images does; they then keep their places.
        """
        if precision not in self._repeated:
            permuted = tuple(self._again(precision, seed) for seed in _PERMUTATIONS)
            if not self.reference(precision).training_passes():
                self._repeated[precision] = permuted, False
            elif not _mostly_noise(precision, permuted):
                self._repeated[precision] = permuted, True
            else:
                same = (self._again(precision, None),)
                self._repeated[precision] = (permuted, True) if _mostly_noise(precision, same) else (same, False)
        return self._repeated[precision]

    def _again(self, precision: Precision, permutation: int | None) -> Run:
        return self._runner.run(
            f"repeated-{precision}-{permutation}",
            self._one,
            1,
            compares=True,
            float64=precision == "float64",
            replay=self.reference(precision).replayed_passes(),
            permutation=permutation,
            by_steps=self.by_steps,
        )

    def replayed(self, precision: Precision, workers: int) -> Future[Run]:
        """Several workers on the same batches."""
        replay = self.reference(precision).replayed_passes()
        self._progress(f"{workers} workers on the same batches, and one on permuted ones for the noise floor")
        free, by_steps = self.free(workers), self.by_steps

        def run() -> Run:
            # The pool takes what is asked for in order: the free run is over, or under way in its other thread.
            return self._runner.run(
                f"{self._name}-replayed-{precision}-{workers}",
                self._several,
                workers,
                compares=True,
                float64=precision == "float64",
                replay=replay,
                uncut=tuple(coverage.cut_by_hand(free.result())),
                by_steps=by_steps,
            )

        return self._pool.submit(run)

    def plain(self) -> Run:
        """One worker as several run free: in the script's own precision, with its own randomness."""
        if self._plain is None:
            self._progress("one worker, as it is: what its streams hold")
            self._plain = self._runner.run("plain", self._one, 1, free=True, by_steps=self.by_steps)
        return self._plain

    def free(self, workers: int) -> Future[Run]:
        """Several workers as they are."""
        key = workers, self.by_steps
        if key not in self._free:
            name = f"{self._name}-free-{workers}{'-by-steps' if self.by_steps else ''}"
            self._free[key] = self._pool.submit(
                self._runner.run, name, self._several, workers, free=True, by_steps=self.by_steps
            )
        return self._free[key]


def answer(runs: Runs, workers: int, *, next_command: str) -> Verification:
    """Compare in double precision, or in single where double is what makes the runs fail."""
    if not runs.reference("float64").failed:
        evidence = _evidence(runs, "float64", workers)
        if isinstance(evidence, Verification):
            return evidence
        if not evidence.replayed.failed or evidence.free.failed:
            return judge(evidence, next_command=next_command)
    evidence = _evidence(runs, "float32", workers)
    return evidence if isinstance(evidence, Verification) else judge(evidence, next_command=next_command)


def _evidence(runs: Runs, precision: Precision, workers: int) -> Evidence | Verification:
    reference = runs.reference(precision)
    unusable = _unusable(reference, workers)
    if unusable is not None:
        return unusable
    replayed = runs.replayed(precision, workers)
    repeated, permuted = runs.repeated(precision)
    streams = any(loader in reference.streams for loader, _, _ in reference.training_passes())
    return Evidence(
        reference,
        repeated,
        permuted,
        runs.free(workers).result(),
        replayed.result(),
        precision,
        alike=runs.alike,
        weak=runs.weak,
        plain=runs.plain() if streams else None,
    )


def _mostly_noise(precision: Precision, runs: tuple[Run, ...]) -> bool:
    """Whether the gradients of more tensors than not differ between correct runs as much as between wrong ones."""
    floor = Floor.measured(precision, worst(runs), permuted=True)
    gradients = sum(quantity == "gradient" for quantity, _ in floor.tensors)
    return 2 * len(floor.unjudged) > gradients


def _unusable(reference: Run, workers: int) -> Verification | None:
    """The answer where the original gives nothing to compare with."""

    def cannot_tell(why: str, next_: str) -> Verification:
        return Verification("cannot-tell", why, next_, workers, len(reference.steps()), precision="float32")

    if reference.failed:
        last = (reference.error or "no message").strip().splitlines()[-1]
        return cannot_tell(
            f"the original script itself fails on one worker: {last}", "Run it with plain python and mend that first"
        )
    if reference.steps():
        return None
    why, arguments = "no optimizer steps in the original script as it was run", "the arguments that make it train"
    for name in (name for ended in reference.ended() for name in ended.loaded):
        advice = f"Move that file away, so that the training begins anew, or give {arguments}, after --"
        return cannot_tell(f"{why}: it resumed from {name}", advice)
    return cannot_tell(why, f"Give {arguments}, after --")
