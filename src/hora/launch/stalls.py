"""Which workers wait for which, by what each says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hora.launch.result import ranks
from hora.launch.vitals import SILENT_SECONDS, Vital

JOIN = "join"
"""What a worker waits in that is out of data, as `hora.torch` names it."""


@dataclass(frozen=True)
class Stall:
    """Workers that wait for others which do not come.

    Attributes
    ----------
    seconds
        For how long the one has waited that began last: so long no other has come.
    missing
        The ranks of those that are waited for and live; empty where all wait.
    blamed
        The rank of one that keeps the others waiting.
    text
        Who waits in what, and for whom, in several lines.
    """

    seconds: float
    missing: tuple[int, ...]
    blamed: int
    text: str


def find_stall(vitals: Sequence[Vital]) -> Stall | None:
    """Find what keeps the workers waiting, for however short a time; None where nobody waits.

    A worker that is frozen is waited for, whatever it said last. One that has joined waits until the others have used
    up their data, which is no stall.
    """
    vitals = [vital for vital in vitals if not (vital.beat and vital.beat.waits_for == JOIN)]
    waiting = {
        vital.rank: vital.beat
        for vital in vitals
        if vital.beat and vital.beat.waits_for and not (vital.ended or vital.frozen or vital.silent > SILENT_SECONDS)
    }
    if not waiting:
        return None
    seconds = min(beat.waited for beat in waiting.values())
    operations: dict[str, list[int]] = {}
    for rank, beat in waiting.items():
        operations.setdefault(str(beat.waits_for), []).append(rank)
    lines = [f"{ranks(who)} wait{'s' if len(who) == 1 else ''} in {what}" for what, who in operations.items()]
    missing = [vital for vital in vitals if vital.rank not in waiting]
    if missing:
        lines += map(_absence, missing)
    elif len(operations) > 1:
        lines.append("they wait for each other: their scripts have come apart")
    else:
        lines.append("all are there: the connection between them carries nothing")
    alive = [vital.rank for vital in missing if not vital.ended]
    fewest = min(operations.values(), key=len)
    text = "\n  ".join([f"no worker has come on for {seconds:.0f} s", *lines])
    return Stall(seconds, tuple(alive), [*alive, *fewest][0], text)


def _absence(vital: Vital) -> str:
    """What a worker does that the others wait for."""
    if vital.ended:
        return f"{vital.who} has ended"
    if vital.frozen:
        return f"{vital.who} is stopped (SIGSTOP or a debugger)"
    if vital.beat is None:
        return f"{vital.who} has not called hvd.init()"
    if vital.beat.ending:
        return f"{vital.who} is ending"
    if vital.silent > SILENT_SECONDS:
        return f"{vital.who} has given no sign of life for {vital.silent:.0f} s"
    return f"{vital.who} is not there: it waits for nobody, after {vital.beat.steps} steps"
