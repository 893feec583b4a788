"""The rules, by what they can do.

Each is a module with ``CODE``, ``TITLE``, ``WHY`` (with what a wrong run showed) and ``detect(program)``, which gives
findings: with edits that mend them, without any as a note, or with None where nothing can.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Protocol, cast

from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.rules import (
    hr101,
    hr102,
    hr103,
    hr201,
    hr204,
    hr205,
    hr206,
    hr207,
    hr208,
    hr301,
    hr302,
    hr303,
    hr304,
    hr305,
    hr307,
    hr309,
    hr310,
    hr311,
    hr401,
    hr403,
    hr501,
    hr502,
    hr503,
    hr601,
    hr602,
    hr603,
    hr604,
    hr606,
    hr901,
    hr902,
    hr903,
    hr904,
    hr905,
    hr907,
    hr908,
    hr909,
)  # fmt: skip


class Rule(Protocol):
    """One thing that a distributed training script must get right."""

    CODE: str
    TITLE: str
    WHY: str
    detect: Callable[[Program], list[Finding]]


GATES = cast("tuple[Rule, ...]", (hr907, hr909))
"""Rules that nothing else is asked before: whether there is anything here to convert."""

REFUSING = cast(
    "tuple[Rule, ...]",
    (
        hr204, hr207, hr305, hr307,
        hr311, hr901, hr902, hr903, hr904, hr905, hr908,
    ),
)  # fmt: skip
"""Rules that refuse: where one of them does, no other can help the script. Some mend a part of it later."""

MENDING = cast(
    "tuple[tuple[Rule, ...], ...]",
    (
        (hr103,),
        (hr101, hr201, hr204, hr301, hr401),
        (hr205,),
        (hr102, hr206, hr207, hr302, hr303, hr304, hr305, hr309, hr502, hr503, hr604),
        (hr601,),
        (hr603,),
        (hr602,),
        (hr403, hr501, hr606),
    ),
)
"""Rules that mend what they find, in stages: those of one stage do not depend on each other, but on the stage before.

The last speak of what is left when nothing more can be mended.
"""

NOTING = cast("tuple[Rule, ...]", (hr208, hr310))
"""Rules that only say what the reader should know."""

RULES = tuple(sorted({*GATES, *REFUSING, *chain(*MENDING), *NOTING}, key=lambda rule: rule.CODE))
"""All rules, by their codes."""
