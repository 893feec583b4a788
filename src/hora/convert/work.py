"""How much of the work for one answer is done, over all walks: a script too large to be followed is refused in time."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hora.convert.finding import Finding
from hora.convert.source import Source

LIMIT = 500_000
"""Expressions that are followed for one answer; a script of a few hundred lines takes some tens of thousands."""


class TooLargeError(Exception):
    """The script has more ways through it than are followed.

    Parameters
    ----------
    finding
        The refusal, at what most of the work went to.
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


@dataclass
class Work:
    """What was done for one answer.

    Attributes
    ----------
    limit
        How many expressions are followed at most: a count, not a time, so that each machine gives the same answer.
    done
        How many were followed.
    by
        How many of them in each function or module, in the last walk.
    represented
        The classes, by file and name, that are not followed again: others that are do the same.
    """

    limit: int = LIMIT
    done: int = 0
    by: Counter[ast.AST] = field(default_factory=Counter)
    represented: set[tuple[Path, str]] = field(default_factory=set)

    def spend(self, function: ast.AST) -> bool:
        """Note that an expression of a function is followed; False where there are more than the limit."""
        self.done += 1
        self.by[function] += 1
        return self.done <= self.limit

    def refusal(self, source: Source, function: ast.AST) -> TooLargeError:
        """Give the refusal at a function of a file that took most of the last walk."""
        name = getattr(function, "name", "")
        line, column = getattr(function, "lineno", 1), getattr(function, "col_offset", 0) + 1
        message = (
            f"the script has more ways through it than are followed: most lead through {name or 'what begins here'}"
        )
        return TooLargeError(Finding("HR908", str(source.path), line, column, message, None))
