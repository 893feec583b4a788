"""Compare what worker 0 prints with what one worker printed: a metric that is not reduced over the workers shows there.

Numbers that change between correct runs of one worker (times, rates) are noise and are not compared.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

_NOISE = 1e-9
_NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?|\bnan\b|\binf\b")
_DURATION = re.compile(r"\s*(?:s|ms|us|sec|secs|seconds|min|minutes|h|it/s|/s|s/it)\b", re.IGNORECASE)
_CLOCK = re.compile(r"\b(?:time|elapsed|took|eta|speed|throughput)\b", re.IGNORECASE)


def first_difference(
    reference: Sequence[str], permuted: Sequence[Sequence[str]], found: Sequence[str]
) -> tuple[str | None, str | None] | None:
    """Find the first line of `found` that says something else than `reference`.

    Lines are those of one worker, of its runs on permuted batches, and of worker 0 of several.

    Returns
    -------
    tuple of str or None, or None
        The reference's line and the one found in its place (None where one of them ends sooner); None if all agree.
    """
    for index, (expected, line) in enumerate(zip_longest(reference, found)):
        others = [run[index] if index < len(run) else None for run in permuted]
        if expected is None or line is None:
            if all((other is None) == (expected is None) for other in others):
                return expected, line
            continue
        if any(other is None or _words(other) != _words(expected) for other in others) or _CLOCK.search(expected):
            continue
        if _words(expected) != _words(line):
            return expected, line
        numbers = list(_NUMBER.finditer(expected))
        for place, (number, got) in enumerate(zip(numbers, _NUMBER.findall(line), strict=True)):
            if _DURATION.match(expected, number.end()):
                continue
            steady = all(_same(number[0], _NUMBER.findall(other)[place]) for other in others if other is not None)
            if steady and not _same(number[0], got):
                return expected, line
    return None


def _words(line: str) -> str:
    """A line without its numbers, and without the spaces that align them."""
    return " ".join(_NUMBER.sub("#", line).split())


def _same(a: str, b: str) -> bool:
    """Whether two printed numbers may be the same one, rounded: one apart in the last digit at most, or in noise."""
    if a == b:
        return True
    x, y = float(a), float(b)
    if x != x or y != y:
        return x != x and y != y
    digit = max(_last_digit(a), _last_digit(b))
    # Whole numbers are counts, and counts are exact; of what is printed in full the last digits are noise.
    return digit > 0 and abs(x - y) <= max(1.001 * digit, _NOISE * max(abs(x), abs(y)))


def _last_digit(number: str) -> float:
    mantissa, _, exponent = number.lower().partition("e")
    _, _, decimals = mantissa.partition(".")
    return 0.0 if not decimals and not exponent else 10.0 ** (int(exponent or 0) - len(decimals))
