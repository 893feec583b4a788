"""What a grader answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One thing that was asked of the reader's file.

    Attributes
    ----------
    asked
        What must hold.
    fault
        What was found instead and what to look at, None where it holds.
    """

    asked: str
    fault: str | None = None


@dataclass(frozen=True)
class Grade:
    """The checks of one exercise, in order."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether all hold."""
        return all(check.fault is None for check in self.checks)

    def lines(self) -> tuple[str, ...]:
        """Return one line for each check, for a terminal."""
        return tuple(
            f"right: {check.asked}" if check.fault is None else f"wrong: {check.asked}. {check.fault}"
            for check in self.checks
        )

    def markdown(self) -> str:
        """Return the checks as a list, for a notebook."""
        marks = [f"- {'✅' if one.fault is None else '❌'} {one.asked}" for one in self.checks]
        faults = [f". **{one.fault}**" if one.fault else "" for one in self.checks]
        head = "**Passed.**" if self.passed else "**Not yet.**"
        return "\n".join([head, "", *(mark + fault for mark, fault in zip(marks, faults, strict=True))])
