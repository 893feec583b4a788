"""Convert a script: apply the first rule that can mend something, follow the script again, and go on until none can."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import replace
from itertools import chain
from pathlib import Path

from hora.convert import edits as spans
from hora.convert.conversion import Applied, Conversion, ConvertedFile
from hora.convert.distributed.rules import review
from hora.convert.edits import Edit, SharedLineError
from hora.convert.finding import Finding
from hora.convert.follow import Learned, follow, learn
from hora.convert.program import Program, imported
from hora.convert.rules import GATES, MENDING, NOTING, REFUSING, hr101, hr601, hr907
from hora.convert.source import Source, parse, read
from hora.convert.walk import TooLargeError
from hora.errors import HoraError

PASSES = 80


def convert(path: Path | str, *, skip: Collection[str] = ()) -> Conversion:
    """Convert a training script for one device to many workers; the global batch stays what it was.

    The modules of its own that it imports are converted with it.

    Parameters
    ----------
    path
        The script.
    skip
        Codes of rules to leave out. The result is then wrong, on purpose.

    Returns
    -------
    Conversion
        The converted files, or what stands against it.

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
    """Give the findings on a script as it stands, file by file, in the order of their lines.

    A script for one device is followed; one that is distributed already is read by the rules for such scripts.

    Raises
    ------
    HoraError
        The file cannot be read or is not Python 3, or it has no training loop.
    """
    asked = f"check {path}"
    source = read(Path(path), asked)
    if hr907.library(source) is not None:
        return _in_order(review(source), [str(source.path)])
    program = _follow(source, frozenset(range(1000)), {}, asked)
    findings = [finding for rule in GATES for finding in rule.detect(program)]
    for rule in () if findings else (*REFUSING, *chain(*MENDING)):
        try:
            findings += rule.detect(program)
        except SharedLineError as shared:
            file = _file_of(program, shared.edits)
            line = file.text.count("\n", 0, shared.edits[0].start) + 1
            findings.append(Finding(rule.CODE, str(file.path), line, 1, rule.TITLE, shared.edits))
    findings = [one for one in findings if not one.note]
    found = {(one.code, one.line) for one in findings if one.file == str(source.path)}
    findings += [one for one in review(source) if (one.code, one.line) not in found]
    return _in_order(findings, [str(one.path) for one in program.sources])


def _in_order(findings: list[Finding], files: list[str]) -> tuple[Finding, ...]:
    """Give findings file by file and line by line, each once."""
    once = dict.fromkeys(findings)
    return tuple(sorted(once, key=lambda one: (files.index(one.file), one.line, one.column, one.code)))


class _Attempt:
    """One conversion, with some evaluation loaders left whole."""

    def __init__(self, script: Source, skip: frozenset[str], whole: frozenset[int], asked: str) -> None:
        self.script = script.path
        self.files = {script.path: _File(script)}
        self.skip = skip
        self.whole = whole
        self.asked = asked
        self.findings: list[Finding] = []

    def run(self) -> frozenset[int]:
        """Apply rules until none can mend anything; give the evaluation loaders that cannot be dealt after all."""
        learned: Learned | None = None
        for _ in range(PASSES):
            edited = {path: file.source for path, file in self.files.items() if path != self.script}
            program = _follow(self.files[self.script].source, self.whole, edited, self.asked, learned)
            learned = learn(program)
            for source in program.sources:
                self.files.setdefault(source.path, _File(source))
            if not self._mend(program):
                return hr601.blocked(program) if "HR601" not in self.skip else frozenset()
        applied = [one.code for file in self.files.values() for one in file.applied[-8:]]
        codes = ", ".join(dict.fromkeys(applied))
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
                    message, tree = "a statement gets a line of its own", _file_of(program, shared.edits).tree
                    self._apply(program, [program.finding(rule.CODE, tree, message, shared.edits)])
                    return True
                mendable += dict.fromkeys(finding for finding in findings if finding.mendable)
                self.findings += findings
            if mendable:
                self._apply(program, mendable)
                return True
        return False

    def _apply(self, program: Program, findings: list[Finding]) -> None:
        """Mend what was found, in each file that it is in; a module that now uses the runtime imports it."""
        for path in dict.fromkeys(edit.path for finding in findings for edit in finding.edits or ()):
            file = self.files[path]
            here = [
                replace(one, edits=edits)
                for one in findings
                if (edits := tuple(edit for edit in one.edits or () if edit.path == path))
            ]
            uses = any(f"{program.runtime}." in edit.text for one in here for edit in one.edits or ())
            if uses and path != self.script and imported(file.source.tree) != program.runtime:
                tree, message = file.source.tree, "hora.torch is not imported"
                here.append(program.finding(hr101.CODE, tree, message, [hr101.imports_it(program, file.source)]))
            try:
                file.apply(here)
            except (HoraError, ValueError) as error:
                codes = ", ".join(dict.fromkeys(finding.code for finding in here))
                found = f"{codes} wrote what cannot be ({error})"
                raise HoraError(self.asked, found, "Please report this script.", status=3) from error

    def conversion(self) -> Conversion:
        """Give the result: converted, or refused and unchanged."""
        by_name = {str(path): file for path, file in self.files.items()}
        found = [by_name[one.file].mapped(one) if one.file in by_name else one for one in self.findings]
        refusals = tuple(dict.fromkeys(one for one in found if one.refusal))
        notes = tuple(dict.fromkeys(one for one in found if one.note))
        files = tuple(file.converted(refused=bool(refusals)) for file in self.files.values())
        return Conversion(self.script, files, refusals, notes)


class _File:
    """A file on its way from what it was to what it becomes."""

    def __init__(self, source: Source) -> None:
        self.original = self.source = source
        self.lines = list(range(1, len(source.lines) + 1))
        self.applied: list[Applied] = []

    def apply(self, findings: list[Finding]) -> None:
        """Make the edits of some findings, and keep track of where each line came from."""
        before = self.source
        edits = [edit for finding in findings for edit in finding.edits or ()]
        text = spans.apply(before.text, edits)
        self.source = parse(text, path=before.path, encoding=before.encoding, bom=before.bom)
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

    def mapped(self, finding: Finding) -> Finding:
        """Give a finding with its place in the original."""
        line = self.lines[finding.line - 1]
        now, then = self.source.lines[finding.line - 1], self.original.lines[line - 1]
        shift = (len(then) - len(then.lstrip())) - (len(now) - len(now.lstrip()))
        return replace(finding, line=line, column=max(1, finding.column + shift))

    def converted(self, *, refused: bool) -> ConvertedFile:
        """Give the file before and after: unchanged where something is refused."""
        original = self.original
        text = original.text if refused else self.source.text
        applied = () if refused else tuple(sorted(self.applied, key=lambda one: one.line))
        return ConvertedFile(original.path, original.text, text, applied, original)


def _file_of(program: Program, edits: tuple[Edit, ...]) -> Source:
    """Give the file that edits are made in."""
    return next(source for source in program.sources if source.path == edits[0].path)


def _follow(
    source: Source, whole: frozenset[int], edited: dict[Path, Source], asked: str, learned: Learned | None = None
) -> Program:
    """Follow a script that trains something, by itself or in a module of its own."""
    try:
        program = follow(source, whole, edited, learned)
    except TooLargeError:
        raise HoraError(asked, "it has more ways through it than are followed", "Split the script.", status=1) from None
    except RecursionError:
        raise HoraError(asked, "an expression is nested too deeply to be followed", "Split it.", status=1) from None
    if any(_goes_back(node) for one in program.sources for node in one.nodes):
        return program
    raise HoraError(
        asked,
        f"no training loop: nothing in {source.path}, or in what it imports, calls backward()",
        "Give the script that holds or starts the loop over the batches.",
        status=1,
    )


def _goes_back(node: ast.AST) -> bool:
    """Whether a node calls ``backward()``."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "backward"
