"""From what the runs saw to a verdict: the first thing in which several workers part from one, and its rule.

The order of the questions is that of cause and effect: other samples or another start make other gradients, other
gradients make other parameters, other parameters make other metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from hora.script.augmentation import DATA
from hora.verify import agreement, cause, coverage, files, printed, streams
from hora.verify import evidence as in_full
from hora.verify.evidence import Evidence, worst
from hora.verify.floor import Floor
from hora.verify.reference import Compared
from hora.verify.result import Difference, Finding, Verification
from hora.verify.runs import Run

# In the order in which one brings about the next: what is said of each quantity, and its scale.
_WHAT: dict[Compared, tuple[str, str]] = {
    "initial parameters": ("start of", "its layer's"),
    "gradient": ("gradient of", "its layer's"),
    "update": ("update of", "its layer's"),
    "optimizer state": ("optimizer's state", "its layer's"),
    "buffer": ("buffer", "its own norm"),
}


_DRAW_AT_ONCE = "Draw the numbers of a batch at once, or in the data set, where they are drawn per sample"


def judge(evidence: Evidence, *, next_command: str) -> Verification:
    """Weigh the evidence; `next_command` is what to do after a clean verdict."""
    reference, replayed = evidence.reference, evidence.replayed
    floor = Floor.measured(evidence.precision, worst(evidence.repeated), permuted=evidence.permuted)
    gradients = [d for d in evidence.differences if d.quantity == "gradient" and floor.judges(d)]
    base = Verification(
        verdict="equivalent",
        why="",
        next=next_command,
        workers=replayed.workers,
        steps=len(reference.steps()),
        max_relative_difference=max((d.difference for d in gradients), default=None),
        noise_floor=floor.largest,
        permuted=evidence.permuted,
        joined=replayed.workers if evidence.weak else 1,
        precision=evidence.precision,
        neutralised=_unique(end.neutralised for run in (reference, replayed) for end in run.ended()),
        unjudged=floor.unjudged,
        remarks=_remarks(evidence),
        statistics_drift=in_full.statistics_drift(evidence.free),
        by_step=in_full.by_step(evidence, floor),
        by_tensor=in_full.by_tensor(evidence, floor),
        coverage=in_full.coverage(evidence),
    )
    unknown: tuple[str, ...] = ()
    found = next(_findings(evidence, floor), None)
    if found is None:
        found, unknown = files.compared(evidence)
    if found is not None:
        difference, code = found
        singles = in_full.drawn_one_by_one(evidence, difference)
        if singles is not None:
            return replace(base, verdict="cannot-tell", why=singles, next=_DRAW_AT_ONCE)
        return replace(
            base,
            verdict="not-equivalent",
            why=difference.detail,
            next=cause.advice(code, weak=evidence.weak, quantity=difference.quantity),
            first_difference=difference,
            cause=code,
        )
    if not gradients:
        why = "every gradient is noise: one worker on the same batches already computes something else when repeated"
        advice = "Make it repeatable: seed what it draws, sort what comes out of a set, use deterministic algorithms"
        return replace(base, verdict="cannot-tell", why=why, next=advice)
    if unknown:
        base = replace(base, remarks=(*base.remarks, f"of {', '.join(unknown)} it was not compared what they hold"))
    normalised = " with synchronised BatchNorm" if "BatchNorm" in base.neutralised else ""
    on = f" on {base.workers} batches at once, at the rate for them" if evidence.weak else ""
    why = f"{base.workers} workers compute what one worker computes{on}{normalised}, in each of {base.steps} steps"
    return replace(base, why=why)


def _findings(evidence: Evidence, floor: Floor) -> Iterator[Finding]:
    """All that differs, causes before effects."""
    reference, free, replayed = evidence.reference, evidence.free, evidence.replayed
    yield from _some(coverage.first_difference(reference, free, evidence.plain))
    yield from _some(coverage.replay_difference(reference, replayed))
    yield from _some(agreement.unequal_start(free))
    yield from _some(_failure(free, "as it is"))
    yield from _some(_failure(replayed, "on the batches of one worker"))
    yield from _some(_learning_rates(evidence))
    yield from _some(_other_parameters(evidence))
    yield from _some(_tensors(evidence, floor))
    yield from _some(_step_count(reference, replayed))
    yield from _some(agreement.disagreement(free))
    yield from _some(agreement.same_noise(reference, free))
    yield from _some(_printed(evidence) if evidence.alike else None)
    yield from _some(files.written(evidence))


def _remarks(evidence: Evidence) -> tuple[str, ...]:
    """What else the reader has to know."""
    remarks = _unique(end.remarks for run in (evidence.reference, evidence.free) for end in run.ended())
    random = _unique(end.neutralised for end in evidence.reference.ended())
    dropped = [name for name in random if "dropout" in name or name == DATA]
    if dropped and agreement.same_random_state(evidence.free):
        alike = "seeded alike, the workers draw the same for each slice in: " + ", ".join(dropped)
        remarks = (*remarks, f"{alike} (HR501: right on average, not sample by sample)")
    gradients = [one.scale for one in evidence.differences if one.quantity == "gradient"]
    if gradients and not any(gradients):
        remarks = (*remarks, "every gradient is zero, on one worker as on several: nothing is trained")
    if evidence.plain is not None and not streams.recognised(evidence.plain, evidence.free):
        unknown = "the samples of the stream are other ones in each run: which worker reads which was not compared"
        remarks = (*remarks, unknown)
    if not evidence.alike:
        remarks = (*remarks, "what is printed was not compared: one worker was given other arguments")
    return remarks


def _unique(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for group in groups for item in group))


def _some(finding: Finding | None) -> Iterable[Finding]:
    return () if finding is None else (finding,)


def _failure(run: Run, how: str) -> Finding | None:
    if not run.failed:
        return None
    failure = run.result.first_failure
    step = min(len(run.steps(rank)) for rank in range(run.workers))
    if failure is None:
        at = ", ".join(f"worker {rank} in line {line}" for rank, line in enumerate(run.lines) if line is not None)
        detail = f"the workers hang in step {step}, run {how}{': ' + at if at else ''}"
    else:
        last = (run.error or "no message").strip().splitlines()[-1]
        detail = f"worker {failure.rank} failed in step {step}, run {how}: {last}"
    return Difference("failure", step, None, None, None, detail), None


def _step_count(reference: Run, replayed: Run) -> Finding | None:
    one = len(reference.steps())
    for rank in range(replayed.workers):
        several = len(replayed.steps(rank))
        if several != one:
            detail = f"worker {rank} takes {several} optimizer steps over the batches on which one worker takes {one}"
            return Difference("steps", min(one, several), None, None, None, detail), "HR402"
    return None


def _learning_rates(evidence: Evidence) -> Finding | None:
    reference, replayed = evidence.reference, evidence.replayed
    for rank in range(replayed.workers):
        for one, several in zip(reference.steps(), replayed.steps(rank), strict=False):
            for a, b in zip(one.learning_rates, several.learning_rates, strict=False):
                if a == a and abs(a - b) > 1e-9 * max(abs(a), abs(b)):
                    detail = f"the learning rate of step {one.step} is {b:g} on worker {rank}, and {a:g} on one worker"
                    detail += f" on {replayed.workers} batches at once" if evidence.weak else ""
                    off = Difference("learning rate", one.step, None, abs(a - b) / max(abs(a), 1e-30), None, detail)
                    return off, cause.of_rate(one.step, rank, weak=evidence.weak)
    return None


def _other_parameters(evidence: Evidence) -> Finding | None:
    """An optimizer that steps more or fewer parameters than on one worker, or in another order."""
    found = next((d for d in evidence.differences if d.quantity == "parameters"), None)
    if found is None:
        return None
    detail = f"step {found.step} updates {found.tensor}"
    return Difference("parameters", found.step, None, None, None, detail), "HR301"


def _tensors(evidence: Evidence, floor: Floor) -> Finding | None:
    """Find the first step at which a gradient, or its update, is out of the noise; there the worst tensor."""
    over = [d for d in evidence.differences if floor.judges(d) and not d.difference <= floor.allowed(d)]
    if not over:
        return None
    order = list(_WHAT)
    first = min(over, key=lambda d: (d.step, order.index(d.quantity), -d.difference))
    what, scale = _WHAT[first.quantity]
    code, pattern = cause.of_tensor(evidence, first, over)
    detail = (
        f"in step {first.step} the {what} {first.tensor} differs by {first.difference:.1e} of {scale}; "
        f"noise explains {floor.allowed(first):.0e}{pattern}"
    )
    return (
        Difference(first.quantity, first.step, first.tensor, first.difference, floor.allowed(first), detail),
        code,
    )


def _printed(evidence: Evidence) -> Finding | None:
    repeated = [run.printed() for run in evidence.repeated]
    found = printed.first_difference(evidence.reference.printed(), repeated, evidence.replayed.printed())
    if found is None:
        return None
    expected, line = (repr(text.strip()) if text is not None else "nothing" for text in found)
    detail = f"worker 0 prints {line} where one worker prints {expected}"
    code, pattern = cause.of_print(evidence)
    return Difference("printed", None, None, None, None, detail + pattern), code
