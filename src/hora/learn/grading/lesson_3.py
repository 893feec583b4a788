"""Grades exercise 3: the reader's rounds are played, and what each worker holds in the end is counted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hora.learn.grading.apart import grade_apart
from hora.learn.grading.checks import Check, Grade
from hora.learn.schedules import Message, Schedule, play

SIZES = (2, 4, 8)


def grade(path: Path) -> Grade:
    """Grade a reader's file."""
    return grade_apart(__name__, path)


def judge(names: Mapping[str, Any]) -> tuple[Check, ...]:
    """Check the names that the file defines."""
    summed = "every worker ends with each worker's vector once, for 2, 4 and 8 workers"
    counted = "it takes 1, 2 and 3 rounds"
    function = names.get("doubling")
    if not callable(function):
        return (Check(summed, "There is no function `doubling`"),)
    schedules = {}
    for size in SIZES:
        try:
            schedules[size] = _schedule(size, function(size))
        except Exception as error:
            fault = f"With {size} workers it must return lists of (source, target); {type(error).__name__}: {error}"
            return (Check(summed, fault),)
    faults = [fault for size in SIZES for fault in [_sum_fault(schedules[size])] if fault]
    rounds = [len(schedules[size].rounds) for size in SIZES]
    return (
        Check(summed, faults[0] if faults else None),
        Check(counted, None if rounds == [1, 2, 3] else f"It takes {', '.join(map(str, rounds))}"),
    )


def _schedule(size: int, rounds: Any) -> Schedule:
    messages = []
    for one in rounds:
        messages.append(tuple(Message(int(source), int(target), 0, True) for source, target in one))
        for message in messages[-1]:
            for rank in (message.source, message.target):
                if not 0 <= rank < size:
                    raise ValueError(f"there is no worker {rank} among {size}")
            if message.source == message.target:
                raise ValueError(f"worker {message.source} sends to itself")
    return Schedule(size, 1, tuple(messages))


def _sum_fault(schedule: Schedule) -> str | None:
    """Name the first worker that does not hold each contribution once."""
    size = schedule.size
    # Digits of a number to a large base count whose vector was added how often.
    base = 10**6
    final = play(schedule, [[base**rank] for rank in range(size)])[-1]
    for rank, (held,) in enumerate(final):
        for source in range(size):
            times = int(held) // base**source % base
            if times != 1:
                found = "lacks" if not times else f"holds {times} times"
                return f"With {size} workers, worker {rank} {found} the vector of worker {source} in the end"
    return None
