"""Which samples the workers trained on: those that one worker would have had, each as often."""

from __future__ import annotations

from collections import Counter, defaultdict

from hora.script.events import BatchCut, BatchLoaded, PassBegan, PassPlanned, Samples
from hora.verify import streams
from hora.verify.result import Difference
from hora.verify.runs import Run

Pass = tuple[str, int]


def first_difference(reference: Run, free: Run, plain: Run | None = None) -> tuple[Difference, str] | None:
    """Compare the samples of each training pass with the reference's; returns the first difference and its rule.

    Those of streams are compared with what one worker reads as freely, `plain`.
    """
    begun = _handed(reference, 0)
    by_hand = cut_by_hand(free)
    expected = {
        (loader, number): batches[: len(begun[loader, number])]
        for loader, number, batches in reference.training_passes()
    }
    handed = [_handed(free, rank, by_hand) for rank in range(free.workers)]
    for key, batches in expected.items():
        shared = _dealt(key, free) or key[0] in by_hand
        if key[0] in reference.streams:
            # The last batches of a shortened pass may be cut in other places.
            found = _batch_sizes(key, batches[:1], handed, ended=not free.failed) or (
                streams.first_difference(key, plain, free, shared=shared) if plain is not None else None
            )
        else:
            found = (
                (_disagreement(key, free) if shared else None)
                or _batch_sizes(key, _in_free_order(key, batches, free, shared), handed, ended=not free.failed)
                or (_slices(key, free, handed) if shared else None)
                or _repeats(key, batches, reference, handed)
                or _whole_pass(key, reference, free, shared=shared)
            )
        if found is not None:
            return found
    return _reshuffling({key: expected[key] for key in expected if key[0] not in reference.streams}, free)


def replay_difference(reference: Run, replayed: Run) -> tuple[Difference, str] | None:
    """Compare what a replay handed the workers with the global batches that were recorded."""
    by_hand = cut_by_hand(replayed)
    handed = [_handed(replayed, rank, by_hand) for rank in range(replayed.workers)]
    for loader, number, batches in reference.training_passes():
        found = _cut((loader, number), batches, handed)
        if found is not None:
            return found
    return None


def padded(reference: Run, free: Run) -> tuple[str, int, int] | None:
    """The first loader that is not trained on and of which the workers share out more samples than one worker has.

    Returns its name, the samples of a pass on one worker, and on several together. Each of them walking all of it is no
    padding.
    """
    training = {loader for loader, _, _ in reference.training_passes()}
    for plan in reference.of(PassPlanned):
        key = plan.loader, plan.number
        plans = [_plan(key, free, rank) for rank in range(free.workers)]
        several = sum(own.samples for own in plans if own is not None)
        if plan.loader not in training and not _dealt(key, free) and plan.samples < several < 2 * plan.samples:
            return plan.loader, plan.samples, several
    return None


def cut_by_hand(run: Run) -> frozenset[str]:
    """The loaders whose batches each worker loads in full and cuts itself, into pieces that have no row in common."""
    cuts = [_cuts(run, rank) for rank in range(run.workers)]
    dealt = {began.loader for began in run.of(PassBegan) if began.dealt}
    found: dict[str, bool] = {}
    for place in {place for own in cuts for place in own}:
        pieces = [own.get(place) for own in cuts]
        rows = [row for piece in pieces for row in piece or ()]
        apart = None not in pieces and len(set(rows)) == len(rows) and bool(rows)
        found[place[0]] = found.get(place[0], True) and apart
    return frozenset(loader for loader, apart in found.items() if apart and loader not in dealt and run.workers > 1)


def _cuts(run: Run, rank: int) -> dict[tuple[str, int, int], Samples]:
    cuts: dict[tuple[str, int, int], Samples] = {}
    for cut in run.of(BatchCut, rank):
        place = cut.loader, cut.number, cut.index
        cuts[place] = (*cuts.get(place, ()), *cut.rows)
    return cuts


def _handed(run: Run, rank: int, by_hand: frozenset[str] = frozenset()) -> dict[Pass, dict[int, Samples]]:
    """The samples of each batch that a worker was handed, or that it then took of them."""
    handed: dict[Pass, dict[int, Samples]] = defaultdict(dict)
    cuts = _cuts(run, rank)
    for batch in run.of(BatchLoaded, rank):
        rows = cuts.get((batch.loader, batch.number, batch.index)) if batch.loader in by_hand else None
        taken = batch.samples if rows is None else tuple(batch.samples[row] for row in rows)
        handed[batch.loader, batch.number][batch.index] = taken
    return handed


def _batch_sizes(
    key: Pass, batches: tuple[Samples, ...], handed: list[dict[Pass, dict[int, Samples]]], *, ended: bool
) -> tuple[Difference, str] | None:
    full = max(map(len, batches), default=0)
    for index, batch in enumerate(batches):
        slices = [worker[key][index] for worker in handed if index in worker[key]]
        if len(slices) < len(handed):
            if not ended:
                return None
            missing = next(rank for rank, worker in enumerate(handed) if index not in worker[key])
            if all(index not in worker[key] for worker in handed):
                detail = f"global batch {index} of pass {key[1]} over {key[0]} reaches no worker"
            else:
                detail = f"global batch {index} of pass {key[1]} over {key[0]} never reaches worker {missing}"
            return _samples(index, detail), "HR201"
        count = sum(map(len, _own(batch, slices, full)))
        if count != len(batch):
            detail = (
                f"global batch {index} of pass {key[1]} over {key[0]} holds {count} samples on "
                f"{len(handed)} workers, and {len(batch)} on one"
            )
            return _samples(index, detail), "HR201"
    return None


def _in_free_order(key: Pass, batches: tuple[Samples, ...], free: Run, shared: bool) -> tuple[Samples, ...]:
    """Give the batches whose sizes the workers' must have: their own plan's, where smaller ones stand anywhere.

    A batch sampler of the script may shuffle whole batches, of which some are smaller; free runs draw other orders.
    """
    full = max(map(len, batches), default=0)
    plan = _plan(key, free, 0) if shared else None
    own = () if plan is None else plan.batches[: len(batches)]
    anywhere = any(len(batch) != full for batch in (*batches[:-1], *own[:-1]))
    return own if anywhere and len(own) == len(batches) and max(map(len, own)) == full else batches


def _own(batch: Samples, slices: list[Samples], full: int) -> list[Samples]:
    """The slices that are not borrowed: a worker without samples takes the whole batch, which then weighs nothing."""
    if not _few(batch, len(slices), full):
        return slices
    return [one for one in slices if len(one) != len(batch)] or [batch]


def _few(batch: Samples, workers: int, full: int) -> bool:
    """Whether a global batch has too few samples for all workers: two for each where it is not full, else one."""
    return len(batch) < (2 * workers if len(batch) < full else workers)


def _slices(key: Pass, free: Run, handed: list[dict[Pass, dict[int, Samples]]]) -> tuple[Difference, str] | None:
    """The slices of a global batch make up the batch."""
    plan = _plan(key, free, 0)
    return _cut(key, plan.batches, handed) if plan is not None else None


def _cut(
    key: Pass, batches: tuple[Samples, ...], handed: list[dict[Pass, dict[int, Samples]]]
) -> tuple[Difference, str] | None:
    full = max(map(len, batches), default=0)
    for index, batch in enumerate(batches):
        slices = [worker[key][index] for worker in handed if index in worker[key]]
        if len(slices) < len(handed):
            continue
        found = Counter(sample for slice_ in _own(batch, slices, full) for sample in slice_)
        if found != Counter(batch):
            wrong = next(iter((found - Counter(batch)) + (Counter(batch) - found)))
            where = f"global batch {index} of pass {key[1]} over {key[0]}"
            return _samples(index, f"{where} is dealt with sample {wrong} {found[wrong]} times"), "HR201"
    return None


def _repeats(
    key: Pass, batches: tuple[Samples, ...], reference: Run, handed: list[dict[Pass, dict[int, Samples]]]
) -> tuple[Difference, str] | None:
    """Where one worker meets no sample twice in a pass, several must not."""
    plan = _plan(key, reference, 0)
    if plan is None or plan.repeats:
        return None
    seen: dict[int, tuple[int, int]] = {}
    full = max(map(len, batches), default=0)
    for index, batch in enumerate(batches):
        if _few(batch, len(handed), full):
            continue
        for rank, worker in enumerate(handed):
            for sample in worker[key].get(index, ()):
                if sample in seen:
                    first, one = seen[sample]
                    detail = (
                        f"sample {sample} of {key[0]} is trained on again in pass {key[1]}: by worker {one} in global "
                        f"batch {first}, by worker {rank} in global batch {index}"
                    )
                    return _samples(index, detail), "HR201"
                seen[sample] = index, rank
    return None


def _disagreement(key: Pass, free: Run) -> tuple[Difference, str] | None:
    """A pass that is dealt is walked by every worker; all must have drawn the same batches."""
    plans = [_plan(key, free, rank) for rank in range(free.workers)]
    if plans[0] is None:
        return None
    for rank, plan in enumerate(plans):
        if plan is not None and plan.batches != plans[0].batches:
            pairs = zip(plan.batches, plans[0].batches, strict=False)
            index = next((i for i, (a, b) in enumerate(pairs) if a != b), 0)
            detail = f"workers 0 and {rank} draw different global batches {index} in pass {key[1]} over {key[0]}"
            return _samples(index, detail), "HR502"
    return None


def _whole_pass(key: Pass, reference: Run, free: Run, *, shared: bool) -> tuple[Difference, str] | None:
    """Count the samples of the pass before it was shortened."""
    one = _plan(key, reference, 0)
    plans = [_plan(key, free, rank) for rank in range(free.workers)]
    if one is None or any(plan is None for plan in plans):
        return None
    counts = [plan.samples for plan in plans if plan is not None]
    several = counts[0] if shared else sum(counts)
    if several == one.samples:
        return None
    detail = (
        f"a whole pass over {key[0]} trains on {several} samples on {free.workers} workers, and on {one.samples} on one"
    )
    return _samples(0, detail), "HR201"


def _reshuffling(expected: dict[Pass, tuple[Samples, ...]], free: Run) -> tuple[Difference, str] | None:
    """Where one worker meets another order in each pass, several must, too."""
    for loader in {loader for loader, _ in expected}:
        orders = [expected[key] for key in expected if key[0] == loader]
        again = [plan.batches for plan in free.of(PassPlanned, 0) if plan.loader == loader]
        # A first look at a batch is a pass, too, and may have the order of the epoch that it belongs to.
        if len(orders) > 1 and len(set(orders)) == len(orders) and len(again) > 1 and len(set(again)) == 1:
            return _samples(
                0, f"each pass over {loader} has the order of the first; on one worker it is shuffled again"
            ), "HR202"
    return None


def _dealt(key: Pass, run: Run) -> bool:
    return any((began.loader, began.number) == key and began.dealt for began in run.of(PassBegan))


def _plan(key: Pass, run: Run, rank: int) -> PassPlanned | None:
    return next((plan for plan in run.of(PassPlanned, rank) if (plan.loader, plan.number) == key), None)


def _samples(index: int, detail: str) -> Difference:
    return Difference("samples", index, None, None, None, detail)
