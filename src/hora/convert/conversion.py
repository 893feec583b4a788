"""What converting a script gave: its files before and after, what was done to each, or what stands against it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from hora.convert.finding import Finding
from hora.convert.source import Source, parse


@dataclass(frozen=True)
class Applied:
    """An edit that was made.

    Attributes
    ----------
    code, reason
        The rule, and what it found.
    line
        The line of the original that the edit stands at, from 1.
    text
        What was put there.
    """

    code: str
    reason: str
    line: int
    text: str


@dataclass(frozen=True)
class ConvertedFile:
    """A file of the script's, before and after.

    Attributes
    ----------
    path
        The file.
    original, converted
        Its text before and after; equal where nothing was to be done, or something is refused.
    edits
        What was changed, in the order of the original's lines.
    """

    path: Path
    original: str
    converted: str
    edits: tuple[Applied, ...]
    _source: Source

    @property
    def changed(self) -> bool:
        """Whether anything was done to it."""
        return self.converted != self.original

    def diff(self) -> str:
        """Give the change as a unified diff."""
        before, after = (list(self._with(text).lines) for text in (self.original, self.converted))
        lines = difflib.unified_diff(before, after, str(self.path), str(self.path))
        return "".join(
            line if line.endswith(("\n", "\r")) else f"{line}\n\\ No newline at end of file\n" for line in lines
        )

    def encoded(self) -> bytes:
        """Give the bytes of the converted file, in the encoding of the original."""
        return self._with(self.converted).encoded()

    def _with(self, text: str) -> Source:
        return parse(text, path=self.path, encoding=self._source.encoding, bom=self._source.bom)


@dataclass(frozen=True)
class Conversion:
    """What converting a script gave.

    Attributes
    ----------
    path
        The script.
    files
        The script, then the modules of its own that it was followed into, changed or not.
    refusals
        What stands against the conversion, at lines of the originals. The files are as they were, then; in a partial
        conversion the rest of them is converted, and these places are marked.
    notes
        What the reader of the converted script should know, at lines of the originals.
    """

    path: Path
    files: tuple[ConvertedFile, ...]
    refusals: tuple[Finding, ...]
    notes: tuple[Finding, ...]

    @property
    def script(self) -> ConvertedFile:
        """The script itself."""
        return self.files[0]

    @property
    def changed(self) -> tuple[ConvertedFile, ...]:
        """The files to which something was done."""
        return tuple(file for file in self.files if file.changed)

    @property
    def original(self) -> str:
        """The script's text before."""
        return self.script.original

    @property
    def converted(self) -> str:
        """The script's text after; it alone is no conversion where other files are changed, too."""
        return self.script.converted

    @property
    def refused(self) -> bool:
        """Whether nothing was done, for what stands against it; a partial conversion did the rest."""
        return bool(self.refusals) and not self.changed

    @property
    def edits(self) -> tuple[Applied, ...]:
        """What was changed in all files."""
        return tuple(edit for file in self.files for edit in file.edits)

    @property
    def contents(self) -> tuple[tuple[Path, bytes], ...]:
        """What the script and the files that change hold when it is converted, by their paths."""
        return tuple((file.path, file.encoded()) for file in dict.fromkeys((self.script, *self.changed)))

    def encoded(self) -> bytes:
        """Give the bytes of the converted script, in the encoding of the original."""
        return self.script.encoded()

    def diff(self) -> str:
        """Give the changes of all files as one unified diff."""
        return "".join(file.diff() for file in self.files)
