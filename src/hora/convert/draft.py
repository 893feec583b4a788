"""A file on its way from what it was to what it becomes, with where each of its lines came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count

from hora.convert import edits as spans
from hora.convert.conversion import Applied, ConvertedFile
from hora.convert.finding import Finding
from hora.convert.source import Source, parse


@dataclass(frozen=True)
class _Line:
    """A line of the text as it stands: a name of its own, and the line of the original that it goes with."""

    name: int
    original: int


@dataclass(frozen=True)
class _Done:
    """An edit that was made, and the lines that have it."""

    code: str
    reason: str
    original: int
    lines: frozenset[int]


class Draft:
    """A file on its way from what it was to what it becomes."""

    def __init__(self, source: Source) -> None:
        self.original = self.source = source
        self._names = count()
        self._lines = [_Line(next(self._names), line) for line in range(1, len(source.lines) + 1)]
        self._done: list[_Done] = []

    @property
    def codes(self) -> list[str]:
        """The rules that mended something, the latest last."""
        return [one.code for one in self._done]

    def apply(self, findings: list[Finding]) -> None:
        """Make the edits of some findings, and keep track of where each line came from."""
        before, lines = self.source, self._lines
        edits = [edit for finding in findings for edit in finding.edits or ()]
        text = spans.apply(before.text, edits)
        self.source = parse(text, path=before.path, encoding=before.encoding, bom=before.bom)
        self._lines = []
        kept: set[int] = set()
        for offset, old in spans.origins(before.text, edits):
            line = lines[min(before.line_of(offset), len(lines)) - 1]
            if old and line.name not in kept:
                kept.add(line.name)
            else:
                line = replace(line, name=next(self._names))
            self._lines.append(line)
        self._note(findings, before, lines)

    def _note(self, findings: list[Finding], before: Source, lines: list[_Line]) -> None:
        """Note what was done, and which lines have it."""
        whose = {id(edit): finding for finding in findings for edit in finding.edits or ()}
        # Lines that only move below a guard that is there already are changed, too.
        moved = {
            id(edit) for one in findings if not any(e.text.strip() for e in one.edits or ()) for edit in one.edits or ()
        }
        for edit, offset in spans.landings(edit for finding in findings for edit in finding.edits or ()):
            if not edit.text.strip() and id(edit) not in moved:
                continue
            first, last = (self.source.line_of(offset + place) for place in (0, max(0, len(edit.text.rstrip()) - 1)))
            finding = whose[id(edit)]
            if not finding.message:
                continue
            original = lines[min(before.line_of(edit.start), len(lines)) - 1].original
            have = frozenset(line.name for line in self._lines[first - 1 : last])
            done = _Done(finding.code, finding.message, original, have)
            if done not in self._done:
                self._done.append(done)

    def mapped(self, finding: Finding) -> Finding:
        """Give a finding with its place in the original."""
        line = self._lines[finding.line - 1].original
        now, then = self.source.lines[finding.line - 1], self.original.lines[line - 1]
        shift = (len(then) - len(then.lstrip())) - (len(now) - len(now.lstrip()))
        return replace(finding, line=line, column=max(1, finding.column + shift))

    def converted(self, *, refused: bool) -> ConvertedFile:
        """Give the file before and after: unchanged where something is refused."""
        original = self.original
        text = original.text if refused else self.source.text
        applied = () if refused else tuple(sorted(self._applied(), key=lambda one: one.line))
        return ConvertedFile(original.path, original.text, text, applied, original)

    def _applied(self) -> list[Applied]:
        """Give what was done, with the text that stands there in the end; what is no longer there was not done."""
        found: dict[Applied, None] = {}
        standing = [(line.name, text.strip()) for line, text in zip(self._lines, self.source.lines, strict=True)]
        for done in self._done:
            texts = [text for name, text in standing if name in done.lines and text]
            if texts and texts != [self.original.lines[done.original - 1].strip()]:
                found[Applied(done.code, done.reason, done.original, "\n".join(texts))] = None
        return list(found)
