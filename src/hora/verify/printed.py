"""Compare what worker 0 prints with what one worker printed: a metric that is not reduced over the workers shows there.

Numbers that change between correct runs of one worker (times, rates) are noise and are not compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

# A few last places of float32, which `.float()` makes also of what a run in float64 counts.
_NOISE = 5e-7
# Lines that are aligned from the first that differs on; of more each is held against that in its own place.
_ALIGNED = 2000
_NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?|\bnan\b|\binf\b")
_DURATION = re.compile(r"\s*(?:s|ms|us|sec|secs|seconds|min|minutes|h|it/s|/s|s/it)\b", re.IGNORECASE)
# A run may take place within one minute, and the next in another.
_DATE = re.compile(r"\b\d{4}[-/]\d\d[-/]\d\d(?:[T_ ]|\b)|\b\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d+)?\b")
_CLOCK = re.compile(r"\b(?:time|elapsed|took|eta|speed|throughput)\b", re.IGNORECASE)


def first_difference(
    reference: Sequence[str], permuted: Sequence[Sequence[str]], found: Sequence[str]
) -> tuple[str | None, str | None] | None:
    """Find the first line of `found` that says something else than `reference`.

    Lines are those of one worker, of its runs on permuted batches, and of worker 0 of several. Those that correct runs
    of one worker do not all have (a new best result) are not missed.

    Returns
    -------
    tuple of str or None, or None
        The reference's line and the one found in its place (None where one of them ends sooner); None if all agree.
    """
    reference, found = _shown(reference), _shown(found)
    others = [_shown(run) for run in permuted]
    places = [dict(_aligned(reference, run)) for run in others]
    unsteady = {_words(line) for place, run in zip(places, others, strict=True) for line in _without(place, run)}
    unsteady |= {_words(line) for i, line in enumerate(reference) if not all(i in place for place in places)}
    pairs = dict(_aligned(reference, found))
    for index, expected in enumerate(reference):
        line = found[pairs[index]] if index in pairs else None
        if line is None:
            if _words(expected) not in unsteady:
                return expected, _instead(index, reference, pairs, found)
        elif all(index in place for place in places):
            alike = [run[place[index]] for place, run in zip(places, others, strict=True)]
            if not _numbers_agree(expected, alike, line):
                return expected, line
    extra = next((line for line in _without(pairs, found) if _words(line) not in unsteady), None)
    return None if extra is None else (None, extra)


def _numbers_agree(expected: str, others: Sequence[str], line: str) -> bool:
    """Whether a line's numbers are the expected ones, where these do not change between runs of one worker."""
    if _CLOCK.search(expected):
        return True
    several = [_NUMBER.findall(other) for other in others]
    for place, (number, got) in enumerate(zip(_NUMBER.finditer(expected), _NUMBER.findall(line), strict=True)):
        steady = all(_same(number[0], numbers[place]) for numbers in several)
        if steady and not _DURATION.match(expected, number.end()) and not _same(number[0], got):
            return False
    return True


def _aligned(reference: Sequence[str], found: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pair the lines that say the same but for numbers, in order, as many as can be."""
    one, other = [_words(line) for line in reference], [_words(line) for line in found]
    shorter = min(len(one), len(other))
    begin = next((i for i in range(shorter) if one[i] != other[i]), shorter)
    yield from ((i, i) for i in range(begin))
    one, other = one[begin:], other[begin:]
    if max(len(one), len(other)) > _ALIGNED:
        pairs = [(i, i) for i, (a, b) in enumerate(zip(one, other, strict=False)) if a == b]
    else:
        blocks = SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
        pairs = [(block.a + i, block.b + i) for block in blocks for i in range(block.size)]
    yield from ((begin + a, begin + b) for a, b in pairs)


def _instead(index: int, reference: Sequence[str], pairs: dict[int, int], found: Sequence[str]) -> str | None:
    """The line that stands where one is missing, None where none does."""
    before = max((pairs[i] for i in range(index) if i in pairs), default=-1)
    after = min((pairs[i] for i in range(index, len(reference)) if i in pairs), default=len(found))
    return found[before + 1] if before + 1 < after else None


def _without(pairs: dict[int, int], found: Sequence[str]) -> list[str]:
    """The lines that are paired with none."""
    paired = set(pairs.values())
    return [line for index, line in enumerate(found) if index not in paired]


def _shown(lines: Sequence[str]) -> list[str]:
    """Lines as a terminal leaves them, without dates: of those that a progress bar writes over each other, the last."""
    return [_DATE.sub("@", line.rstrip("\r").rpartition("\r")[2]) for line in lines]


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
