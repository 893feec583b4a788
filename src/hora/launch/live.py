"""What a running job looks like: how far it is and how fast, in a line or two below the workers' output."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from hora.launch.result import Line
from hora.launch.vitals import SILENT_SECONDS, Vital

WINDOW_SECONDS = 10.0
"""Rates are those of so many seconds."""

PLAIN_SECONDS = 30.0
"""Where there is no terminal, a line is printed so often."""

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?|nan|inf"
_LOSS = re.compile(rf"((?:[a-z]+[ _])?loss)\W{{1,4}}?(?:tensor\()?({_NUMBER})\b", re.IGNORECASE)
"""A loss as scripts print it: its name, of up to two words, and its value."""

_WAIT_SECONDS = 2.0  # a wait that is worth a word


class Live:
    """Makes lines of the workers' signs of life.

    Parameters
    ----------
    on_lines
        Called with the lines to show below the output of a terminal; None where there is none.
    on_notice
        Called with a line now and then where there is no terminal.
    """

    def __init__(self, on_lines: Callable[[Sequence[str]], None] | None, on_notice: Callable[[str], None]) -> None:
        self._on_lines, self._on_notice = on_lines, on_notice
        self._past: deque[tuple[float, int, int]] = deque()
        self._told_at = time.monotonic()
        self._told_steps = 0
        self._losses = ""

    def read(self, line: Line) -> None:
        """Take from a line of a worker's output the losses that it tells, if any."""
        losses = _LOSS.findall(line.text)
        if losses:
            self._losses = ", ".join(f"{name.lower()} {value}" for name, value in losses[-2:])

    def show(self, vitals: Sequence[Vital]) -> None:
        """Show how the workers are."""
        now = time.monotonic()
        steps, samples = _steps(vitals), sum(vital.beat.samples for vital in vitals if vital.beat)
        if not (steps or samples):  # what came before the first step tells nothing of the rate
            return
        if self._past and steps < self._past[-1][1]:  # a new generation
            self._past.clear()
            self._told_steps = 0
        self._past.append((now, steps, samples))
        while now - self._past[0][0] > WINDOW_SECONDS:
            self._past.popleft()
        if self._on_lines is not None:
            self._on_lines([self.summary(vitals), *filter(None, [troubles(vitals)])])
        elif now - self._told_at > PLAIN_SECONDS and steps > self._told_steps:
            self._told_at, self._told_steps = now, steps
            self._on_notice(self.summary(vitals))

    def summary(self, vitals: Sequence[Vital]) -> str:
        """Return in one line how far the job is, and how fast."""
        (then, steps_then, samples_then), (now, steps, samples) = self._past[0], self._past[-1]
        seconds = now - then
        parts = [f"step {steps:,}"]
        furthest = max(
            (vital.beat for vital in vitals if vital.beat), key=lambda beat: (beat.epoch or 0, beat.batch or 0)
        )
        if furthest.epoch is not None:
            of = "" if furthest.batches is None else f"/{furthest.batches:,}"
            parts.append(f"epoch {furthest.epoch}, batch {furthest.batch or 0:,}{of}")
        if seconds > 1.0 and samples > samples_then:
            parts.append(f"{_number((samples - samples_then) / seconds)} samples/s")
        if seconds > 1.0 and steps > steps_then:
            parts.append(f"{_number((steps - steps_then) / seconds)} steps/s")
        parts.append(f"{len(vitals)} worker{'s' if len(vitals) > 1 else ''}")
        if self._losses:  # last, as these are what a narrow terminal has no room for
            parts.append(self._losses)
        return " · ".join(parts)


def troubles(vitals: Sequence[Vital]) -> str:
    """Return in one line which workers are not as they should be; empty where all are."""
    told = [(vital.rank, trouble) for vital in vitals if (trouble := _trouble(vital))]
    some = ", ".join(f"[{rank}] {trouble}" for rank, trouble in islice(told, 4))
    return some + (f" and {len(told) - 4} more" if len(told) > 4 else "")


def _trouble(vital: Vital) -> str:
    if vital.ended:
        return "has ended"
    if vital.frozen:
        return "is stopped"
    if vital.beat is None:
        return "has not begun"
    if vital.beat.ending:
        return "is ending"
    if vital.silent > SILENT_SECONDS / 2:
        return f"silent for {vital.silent:.0f} s"
    if vital.beat.waits_for and vital.beat.waited > _WAIT_SECONDS:
        return f"has waited for {vital.beat.waited:.0f} s"
    return ""


def _steps(vitals: Sequence[Vital]) -> int:
    return max((vital.beat.steps for vital in vitals if vital.beat), default=0)


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
