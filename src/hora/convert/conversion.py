"""Convert a script: apply the first rule that can mend something, follow the script again, and go on until none can."""

from __future__ import annotations

import ast
import contextlib
import difflib
import os
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from hora.convert import edits as spans
from hora.convert.distributed.rules import review
from hora.convert.edits import SharedLineError
from hora.convert.finding import Finding
from hora.convert.follow import follow
from hora.convert.program import Program
from hora.convert.rules import GATES, MENDING, NOTING, REFUSING, hr601, hr907
from hora.convert.source import Source, parse, read
from hora.convert.walk import TooLargeError
from hora.errors import HoraError

PASSES = 80


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
class Conversion:
    """What converting a script gave.

    Attributes
    ----------
    path
        The script.
    original, converted
        Its text before and after: equal where something is refused, and where there was nothing to do.
    edits
        What was changed, in the order of the original's lines.
    refusals
        What stands against the conversion, at lines of the original.
    notes
        What the reader of the converted script should know, at lines of the original.
    """

    path: Path
    original: str
    converted: str
    edits: tuple[Applied, ...]
    refusals: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    _source: Source

    def diff(self) -> str:
        """Give the change as a unified diff."""
        before, after = (list(_with_text(self._source, text).lines) for text in (self.original, self.converted))
        lines = difflib.unified_diff(before, after, str(self.path), str(self.path))
        return "".join(
            line if line.endswith(("\n", "\r")) else f"{line}\n\\ No newline at end of file\n" for line in lines
        )

    def encoded(self) -> bytes:
        """Give the bytes of the converted script, in the encoding of the original."""
        return _with_text(self._source, self.converted).encoded()


def convert(path: Path | str, *, skip: Collection[str] = ()) -> Conversion:
    """Convert a training script for one device to many workers; the global batch stays what it was.

    Parameters
    ----------
    path
        The script.
    skip
        Codes of rules to leave out. The result is then wrong, on purpose.

    Returns
    -------
    Conversion
        The converted text, or what stands against it.

    Raises
    ------
    HoraError
        The file cannot be read or is not Python 3, or it has no training loop.
    """
    asked = f"convert {path}"
    source = read(Path(path), asked)
    whole: frozenset[int] = frozenset()
    while True:
        attempt = _Attempt(source, frozenset(skip), whole, asked)
        blocked = attempt.run()
        if blocked <= whole:
            return attempt.conversion()
        whole |= blocked


def check(path: Path | str) -> tuple[Finding, ...]:
    """Give the findings on a script as it stands, in the order of its lines.

    A script for one device is followed; one that is distributed already is read by the rules for such scripts.

    Raises
    ------
    HoraError
        The file cannot be read or is not Python 3, or it has no training loop.
    """
    asked = f"check {path}"
    source = read(Path(path), asked)
    if hr907.library(source.tree) is not None:
        return _in_order(review(source))
    program = _follow(source, frozenset(range(1000)), asked)
    findings = [finding for rule in GATES for finding in rule.detect(program)]
    for rule in () if findings else (*REFUSING, *chain(*MENDING)):
        try:
            findings += rule.detect(program)
        except SharedLineError as shared:
            line = source.text.count("\n", 0, shared.edits[0].start) + 1
            findings.append(Finding(rule.CODE, str(source.path), line, 1, rule.TITLE, shared.edits))
    findings = [one for one in findings if not one.note]
    found = {(one.code, one.line) for one in findings}
    return _in_order([*findings, *(one for one in review(source) if (one.code, one.line) not in found)])


def _in_order(findings: list[Finding]) -> tuple[Finding, ...]:
    """Give findings by their lines, each once."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda one: (one.line, one.column, one.code)))


def write(conversion: Conversion, out: Path | str, *, in_place: bool = False) -> None:
    """Write a converted script, all of it or nothing.

    Parameters
    ----------
    conversion
        What to write.
    out
        Where.
    in_place
        Whether the original may be written over.

    Raises
    ------
    HoraError
        ``out`` is the original and ``in_place`` was not asked for, or it cannot be written.
    """
    target = Path(out)
    asked = f"write {out}"
    if not in_place and target.exists() and target.samefile(conversion.path):
        raise HoraError(asked, "that is the original", "Give another path, or ask for --in-place.")
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise HoraError(asked, f"its directory cannot be written: {error.strerror}", "Give another path.") from None
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(conversion.encoded())
        os.chmod(name, conversion.path.stat().st_mode & 0o7777)
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


class _Attempt:
    """One conversion, with some evaluation loaders left whole."""

    def __init__(self, source: Source, skip: frozenset[str], whole: frozenset[int], asked: str) -> None:
        self.original = self.source = source
        self.skip = skip
        self.whole = whole
        self.asked = asked
        self.lines = list(range(1, len(source.lines) + 1))
        self.applied: list[Applied] = []
        self.findings: list[Finding] = []

    def run(self) -> frozenset[int]:
        """Apply rules until none can mend anything; give the evaluation loaders that cannot be dealt after all."""
        for _ in range(PASSES):
            program = _follow(self.source, self.whole, self.asked)
            if not self._mend(program):
                return hr601.blocked(program) if "HR601" not in self.skip else frozenset()
        codes = ", ".join(dict.fromkeys(one.code for one in self.applied[-8:]))
        raise HoraError(
            self.asked, f"the rules do not come to an end ({codes})", "Please report this script.", status=3
        )

    def _mend(self, program: Program) -> bool:
        """Apply the rules of the first stage that can mend something."""
        self.findings = []
        for group in (GATES, REFUSING):
            self.findings += [one for rule in group if rule.CODE not in self.skip for one in rule.detect(program)]
            if any(one.refusal for one in self.findings):
                return False
        for stage in (*MENDING, NOTING):
            mendable: list[Finding] = []
            for rule in stage:
                if rule.CODE in self.skip:
                    continue
                try:
                    findings = rule.detect(program)
                except SharedLineError as shared:
                    message = "a statement gets a line of its own"
                    self._apply([program.finding(rule.CODE, program.source.tree, message, shared.edits)])
                    return True
                mendable += dict.fromkeys(finding for finding in findings if finding.mendable)
                self.findings += findings
            if mendable:
                self._apply(mendable)
                return True
        return False

    def _apply(self, findings: list[Finding]) -> None:
        """Mend what was found, and keep track of where each line came from."""
        before = self.source
        edits = [edit for finding in findings for edit in finding.edits or ()]
        try:
            self.source = _with_text(before, spans.apply(before.text, edits))
        except (HoraError, ValueError) as error:
            codes = ", ".join(dict.fromkeys(finding.code for finding in findings))
            found = f"{codes} wrote what cannot be ({error})"
            raise HoraError(self.asked, found, "Please report this script.", status=3) from error
        self._note(findings, before)
        self.lines = [self._line(before, offset) for offset in spans.origins(before.text, edits)]

    def _note(self, findings: list[Finding], before: Source) -> None:
        """Note what was done, for each line that has it."""
        whose = {id(edit): finding for finding in findings for edit in finding.edits or ()}
        # Lines that only move below a guard that is there already are changed, too.
        moved = {
            id(edit) for one in findings if not any(e.text.strip() for e in one.edits or ()) for edit in one.edits or ()
        }
        for edit, offset in spans.landings(edit for finding in findings for edit in finding.edits or ()):
            if not edit.text.strip() and id(edit) not in moved:
                continue
            first, last = (self.source.line_of(offset + place) for place in (0, max(0, len(edit.text.rstrip()) - 1)))
            text = "\n".join(line.strip() for line in self.source.lines[first - 1 : last] if line.strip())
            finding = whose[id(edit)]
            applied = Applied(finding.code, finding.message, self._line(before, edit.start), text)
            if applied not in self.applied:
                self.applied.append(applied)

    def _line(self, source: Source, offset: int) -> int:
        """Give the line of the original that an offset in a later text stands for."""
        return self.lines[min(source.line_of(offset), len(self.lines)) - 1]

    def conversion(self) -> Conversion:
        """Give the result: converted, or refused and unchanged."""
        found = [self._mapped(finding) for finding in self.findings]
        refusals = tuple(dict.fromkeys(one for one in found if one.refusal))
        notes = tuple(dict.fromkeys(one for one in found if one.note))
        if refusals:
            return Conversion(
                self.original.path, self.original.text, self.original.text, (), refusals, notes, self.original
            )
        return Conversion(
            self.original.path,
            self.original.text,
            self.source.text,
            tuple(sorted(self.applied, key=lambda one: one.line)),
            (),
            notes,
            self.original,
        )

    def _mapped(self, finding: Finding) -> Finding:
        """Give a finding with its place in the original."""
        if finding.file != str(self.original.path):
            return finding
        line = self.lines[finding.line - 1]
        now, then = self.source.lines[finding.line - 1], self.original.lines[line - 1]
        shift = (len(then) - len(then.lstrip())) - (len(now) - len(now.lstrip()))
        return replace(finding, line=line, column=max(1, finding.column + shift))


def _with_text(source: Source, text: str) -> Source:
    """Give a source with another text."""
    return parse(text, path=source.path, encoding=source.encoding, bom=source.bom)


def _follow(source: Source, whole: frozenset[int], asked: str) -> Program:
    """Follow a script that trains something."""
    calls = (node.func for node in ast.walk(source.tree) if isinstance(node, ast.Call))
    if not any(isinstance(function, ast.Attribute) and function.attr == "backward" for function in calls):
        raise HoraError(
            asked,
            f"no training loop: nothing in {source.path} calls backward()",
            "Give the script that holds the loop over the batches.",
            status=1,
        )
    try:
        return follow(source, whole)
    except TooLargeError:
        raise HoraError(asked, "it has more ways through it than are followed", "Split the script.", status=1) from None
    except RecursionError:
        raise HoraError(asked, "an expression is nested too deeply to be followed", "Split it.", status=1) from None
