"""The one error a user meets: what was asked, what was found, what to do about it."""

from __future__ import annotations


class HoraError(Exception):
    """A problem that the person at the keyboard can solve.

    Parameters
    ----------
    asked
        What was asked for, such as ``"convert train.py"``.
    found
        What was found instead, naming the worker where there are several.
    mend
        What to do about it; a command that can be pasted, where there is one.
    status
        The exit status of the command that meets it: 1 a finding, 2 wrong usage, 3 cannot tell.
    """

    def __init__(self, asked: str, found: str, mend: str, *, status: int = 2) -> None:
        super().__init__(asked, found, mend)
        self.asked = asked
        self.found = found
        self.mend = mend
        self.status = status

    def __str__(self) -> str:
        return f"{self.asked}: {self.found}. {self.mend}"
