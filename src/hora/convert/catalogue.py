"""Every rule by its code, from both sides: what mends a script for one device, and what reads a distributed one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from hora.convert.distributed import rules as distributed
from hora.convert.rules import MENDING, RULES

EXAMPLES = Path(__file__).parent / "examples"
COMPUTES = ("HR2", "HR3", "HR4", "HR5")
"""Rules that change what is computed; the others change where, what is shown, or whether anything is."""


@dataclass(frozen=True)
class Entry:
    """A rule as it is explained.

    Attributes
    ----------
    code, title, why
        What must hold, and what a wrong run showed.
    mends
        Whether ``hora convert`` mends what it finds, in a script for one device.
    distributed
        Whether ``hora check`` looks for it in a script that is distributed already.
    """

    code: str
    title: str
    why: str
    mends: bool
    distributed: bool

    @property
    def computes(self) -> bool:
        """Whether breaking it changes what is computed."""
        return self.code.startswith(COMPUTES)

    def example(self, kind: str) -> str:
        """Give its example that is ``"wrong"``, or the one that is ``"right"``."""
        return (EXAMPLES / f"{self.code}.{kind}.py").read_text(encoding="utf-8")


def _catalogue() -> dict[str, Entry]:
    """Bring the two sides of each code together; the titles are those of the rules that convert."""
    mending = {rule.CODE for rule in chain(*MENDING)}
    reads = {rule.CODE for rule in distributed.RULES}
    sides: dict[str, Any] = {rule.CODE: rule for rule in chain[Any](distributed.RULES, RULES)}
    return {
        code: Entry(code, sides[code].TITLE, sides[code].WHY, code in mending, code in reads) for code in sorted(sides)
    }


CATALOGUE = _catalogue()
"""All rules by their codes."""
