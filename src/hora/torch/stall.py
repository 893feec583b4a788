"""The stall report: worker 0 says which operation some workers have called and others have not.

It reads the coordinator's book from time to time and asks no worker, so that a worker that is stuck is named, too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from hora.errors import HoraError
from hora.torch.coordinator import Coordinator, Wait, name_workers

# How often the book is looked at, at most; a report comes that much later than it might.
_LONGEST_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Limits:
    """How long an operation may wait for workers.

    Attributes
    ----------
    report
        The seconds after which it is reported, and again whenever it has waited twice as long; infinite for never.
    end
        The seconds after which it fails on every worker that waits in it; infinite for never.
    """

    report: float = math.inf
    end: float = math.inf

    @property
    def pause(self) -> float:
        """The seconds between two looks; infinite where nothing is to be looked for."""
        shortest = min(self.report, self.end)
        return shortest if math.isinf(shortest) else min(_LONGEST_PAUSE_SECONDS, shortest / 4)


def read_limits() -> Limits:
    """Read HORA_STALL_SECONDS (60 by default) and HORA_STALL_SHUTDOWN_SECONDS (never), and Horovod's names for them.

    Raises
    ------
    HoraError
        One of them is no number.
    """
    if os.environ.get("HOROVOD_STALL_CHECK_DISABLE", "0") not in ("", "0"):
        return Limits()
    return Limits(
        report=_seconds("60", "HORA_STALL_SECONDS", "HOROVOD_STALL_CHECK_TIME_SECONDS"),
        end=_seconds("0", "HORA_STALL_SHUTDOWN_SECONDS", "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS"),
    )


def _seconds(default: str, *names: str) -> float:
    """Read the first of several variables that is set; 0 means never."""
    name = next((name for name in names if os.environ.get(name)), names[0])
    text = os.environ.get(name) or default
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise HoraError(f"{name}={text}", "that is no number of seconds", f"Set it to {default}, say; 0 is never")
    return seconds or math.inf


class Stalls:
    """Finds what waits for too long in a coordinator's book.

    Parameters
    ----------
    limits
        How long is too long.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # When each operation that waits is reported next, in seconds of its waiting.
        self._next: dict[tuple[str, float], float] = {}

    def look(self, coordinator: Coordinator, now: float) -> list[str]:
        """Give up what has waited for the second limit; return a line for what has waited for the first.

        Operations that wait for the same workers share a line.

        Parameters
        ----------
        coordinator
            The book; nobody writes in it meanwhile.
        now
            The time, by the coordinator's clock.
        """
        waits = coordinator.waits()
        for wait in waits:
            if now - wait.since >= self._limits.end:
                coordinator.give_up(
                    wait.key,
                    f"stalled: {name_workers(wait.missing)} did not call it within {self._limits.end:g} s "
                    "(HORA_STALL_SHUTDOWN_SECONDS)",
                )
        waits = [wait for wait in waits if now - wait.since < self._limits.end]
        self._next = {
            (wait.key, wait.since): self._next.get((wait.key, wait.since), self._limits.report) for wait in waits
        }
        due = [wait for wait in waits if now - wait.since >= self._next[wait.key, wait.since]]
        for wait in due:
            self._next[wait.key, wait.since] = 2 * (now - wait.since)
        alike: dict[tuple[tuple[int, ...], tuple[int, ...]], list[Wait]] = {}
        for wait in due:
            alike.setdefault((tuple(wait.waiting), tuple(wait.missing)), []).append(wait)
        return [_line(group, now) for group in alike.values()]


def _line(waits: Sequence[Wait], now: float) -> str:
    """Say what waits for whom; the operation that has waited longest stands for all."""
    first = min(waits, key=lambda wait: wait.since)
    more = len(waits) - 1
    return (
        f"hora: stalled for {now - first.since:.0f} s: {first.call}"
        f"{f' and {more} more operation' + 's' * (more > 1) if more else ''}: "
        f"{name_workers(first.waiting)} called it, {name_workers(first.missing)} did not"
    )
