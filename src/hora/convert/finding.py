"""What a rule says about a place in a source file."""

from __future__ import annotations

from dataclasses import dataclass

from hora.convert.edits import Edit


@dataclass(frozen=True)
class Finding:
    """A rule that fires at a place.

    Attributes
    ----------
    code
        The rule's code, such as ``"HR301"``.
    file
        The source file, as it was named.
    line, column
        Where, both counted from 1.
    message
        What is wrong there; for a refusal, why it cannot be mended.
    edits
        What mends it; empty for a note, which says what the script now does and needs no mending; None for a refusal.
    """

    code: str
    file: str
    line: int
    column: int
    message: str
    edits: tuple[Edit, ...] | None

    @property
    def mendable(self) -> bool:
        """Whether edits mend it."""
        return bool(self.edits)

    @property
    def refusal(self) -> bool:
        """Whether it stands against the conversion."""
        return self.edits is None

    @property
    def note(self) -> bool:
        """Whether it only says something."""
        return self.edits == ()

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column} {self.code} {self.message}"
