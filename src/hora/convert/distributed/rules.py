"""The rules for scripts that are distributed already, by their codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from hora.convert.distributed import (
    hr102,
    hr201,
    hr202,
    hr203,
    hr301,
    hr302,
    hr303,
    hr306,
    hr307,
    hr308,
    hr401,
    hr403,
    hr501,
    hr502,
    hr601,
    hr602,
    hr603,
    hr604,
    hr605,
    hr606,
)
from hora.convert.distributed.script import Script
from hora.convert.finding import Finding
from hora.convert.source import Source


class Rule(Protocol):
    """One thing that a distributed training script must get right; ``TITLE`` and ``WHY`` may be of its other side."""

    CODE: str
    detect: Callable[[Script], list[Finding]]


RULES = cast(
    "tuple[Rule, ...]",
    (
        hr102, hr201, hr202, hr203, hr301, hr302, hr303, hr306, hr307, hr308,
        hr401, hr403, hr501, hr502, hr601, hr602, hr603, hr604, hr605, hr606,
    ),
)  # fmt: skip
"""All of them, by their codes."""


def review(source: Source) -> list[Finding]:
    """Give what all rules find in a script that is distributed already."""
    script = Script(source)
    return [finding for rule in RULES for finding in rule.detect(script)]
