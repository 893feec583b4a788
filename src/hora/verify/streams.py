"""Which samples of a stream the workers read: together those that one worker reads, each as often.

A sample of a stream is known by what it holds, and a pass by what was read of it before it was shortened.
"""

from __future__ import annotations

from collections import Counter

from hora.script.events import StreamRead
from hora.verify.result import Difference
from hora.verify.runs import Run

Pass = tuple[str, int]


def first_difference(key: Pass, plain: Run, free: Run, *, shared: bool) -> tuple[Difference, str] | None:
    """Compare what the workers read in a pass with what one worker reads.

    Where the batches are `shared` out after they are read, by the runtime or the script, each worker reads all.
    """
    one = _read(key, plain, 0)
    several = [_read(key, free, rank) for rank in range(free.workers)]
    workers = [read for read in several if read is not None]
    if one is None or len(workers) < free.workers:
        return None
    if shared:
        for rank, read in enumerate(workers):
            if read.samples != workers[0].samples:
                detail = f"workers 0 and {rank} read other samples, or in another order, in pass {key[1]} over {key[0]}"
                return _samples(detail), "HR502"
        workers = workers[:1]
    if not recognised(plain, free):
        return None
    expected = Counter(one.samples)
    found = sum((Counter(read.samples) for read in workers), Counter[int]())
    ended = one.ended and all(read.ended for read in workers)
    # What is missing of a stream that was not read to its end may come later; what comes too often does not go away.
    often = found - expected if ended else {sample: 0 for sample in found if found[sample] > expected[sample] == 1}
    for sample in often:
        readers = [str(rank) for rank, read in enumerate(workers) if sample in read.samples]
        place = one.samples.index(sample) if sample in expected else None
        which = "a sample that one worker does not read" if place is None else f"sample {place}"
        by = f"by worker{'s' * (len(readers) > 1)} {', '.join(readers)}"
        detail = f"{which} of pass {key[1]} over {key[0]} is read {found[sample]} times on {free.workers} workers, {by}"
        return _samples(f"{detail}; one worker reads it {expected[sample]} times"), "HR204"
    missing = expected - found
    if ended and missing:
        count = sum(missing.values())
        detail = f"{count} of the {len(one.samples)} samples of pass {key[1]} over {key[0]} reach no worker"
        return _samples(detail), "HR204"
    batches = min(read.batches for read in workers)
    if ended and batches != one.batches:
        detail = f"pass {key[1]} over {key[0]} is {batches} global batches on {free.workers} workers, and {one.batches}"
        return _samples(f"{detail} on one"), "HR204"
    return None


def recognised(plain: Run, free: Run) -> bool:
    """Whether most of what the workers read is what one worker reads, and not drawn anew in each run."""
    one = {sample for read in plain.of(StreamRead) for sample in read.samples}
    several = {sample for rank in range(free.workers) for read in free.of(StreamRead, rank) for sample in read.samples}
    return not several or 2 * len(one & several) >= len(several)


def _read(key: Pass, run: Run, rank: int) -> StreamRead | None:
    return next((read for read in run.of(StreamRead, rank) if (read.loader, read.number) == key), None)


def _samples(detail: str) -> Difference:
    return Difference("samples", 0, None, None, None, detail)
