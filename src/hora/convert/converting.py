"""Convert a script: apply the first rule that can mend something, follow the script again, and go on until none can."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from hora.convert import targets
from hora.convert.conversion import Conversion
from hora.convert.distributed.rules import review
from hora.convert.draft import Draft
from hora.convert.edits import Edit, SharedLineError, remark
from hora.convert.finding import Finding
from hora.convert.follow import Learned, follow, learn
from hora.convert.horovod.converting import convert_horovod
from hora.convert.program import Program, imported
from hora.convert.rules import GATES, MENDING, NOTING, REFUSING, hr101, hr501, hr503, hr601, hr907
from hora.convert.source import Source, read
from hora.convert.work import TooLargeError, Work
from hora.errors import HoraError

PASSES = 80
BEGUN = 3
"""How many of the first passes are kept for the attempts to come: these mostly begin alike."""
_ALL = frozenset(range(1000))
_BARE = "Leave --scaling and --partial out."


def convert(
    path: Path | str,
    *,
    skip: Collection[str] = (),
    from_: str | None = None,
    to: str = "hora",
    scaling: str = "strong",
    partial: bool = False,
) -> Conversion:
    """Convert a training script for one device to many workers; the global batch stays what it was.

    The modules of its own that it imports are converted with it.

    Parameters
    ----------
    path
        The script.
    skip
        Codes of rules to leave out. The result is then wrong, on purpose.
    from_
        ``"horovod"`` for a script that is distributed already, by Horovod: it is then said in other words, and trains
        as it did. ``to`` is ``"hora"`` or ``"ddp"``, and nothing else is given.
    to
        Whose words it is said in: ``"hora"``, ``"horovod"`` or ``"ddp"`` for torch's own. With these two the training
        data goes through DistributedSampler, and every worker walks all evaluation data.
    scaling
        What stays as it is in the script: with ``"strong"`` the global batch; with ``"weak"`` the batch of each worker,
        so that the global one is N times as large, the learning rate too, with a warm-up. That is another training.
    partial
        Whether to convert the rest where something is refused, and to mark each such place in the converted files with
        a comment ``# TODO(hora HR305): …``. The refusals stay: what is left to do there makes the script right.

    Returns
    -------
    Conversion
        The converted files, or what stands against it.

    Raises
    ------
    HoraError
        The file cannot be read or is not Python 3, it has no training loop, or there is no such target.
    """
    asked = f"convert {path}"
    if from_ is not None:
        if from_ != "horovod":
            raise HoraError(f"{asked} --from {from_}", "there is no such library", "Name horovod, or leave it out.")
        if skip or partial or scaling != "strong":
            raise HoraError(f"{asked} --from horovod", "such a script keeps its batches and is converted whole", _BARE)
        return convert_horovod(Path(path), to)
    if to not in targets.TARGETS:
        raise HoraError(f"{asked} --to {to}", "there is no such target", f"Name one of {', '.join(targets.TARGETS)}.")
    if scaling not in ("strong", "weak"):
        raise HoraError(f"{asked} --scaling {scaling}", "there is no such scaling", "Name strong or weak.")
    if scaling == "weak" and to != "hora":
        raise HoraError(f"{asked} --scaling weak --to {to}", "weak scaling is said in no other words yet", "Give one.")
    if partial and to != "hora":
        raise HoraError(
            f"{asked} --partial --to {to}", "a script that is not whole is said in no other words", "Give one."
        )
    source, work = read(Path(path), asked), Work()
    whole: frozenset[int] = frozenset() if to == "hora" else _ALL
    wanted = _Wanted(asked, frozenset(skip), to, scaling == "weak", partial)
    begun: dict[tuple[str, ...], Program] = {}
    while True:
        attempt = _Attempt(source, wanted, whole, work, begun)
        blocked = attempt.run()
        if not blocked <= whole:
            whole |= blocked
        elif wanted.parting and attempt.refused and attempt.codes & {hr501.CODE, hr503.CODE}:
            # What one worker draws for all, such as an order, is drawn from the same stream.
            wanted = replace(wanted, parting=False)
        else:
            return attempt.conversion()


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
    try:
        program = _follow(source, _ALL, {}, asked, Work())
    except TooLargeError as large:
        return (large.finding,)
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


@dataclass(frozen=True)
class _Wanted:
    """What is asked of a conversion: in an error's words, without which rules, in whose words, for which scaling.

    ``parting`` says whether workers that a seed has made alike are given other seeds for what they drop.
    """

    asked: str
    skip: frozenset[str]
    target: str
    weak: bool
    partial: bool
    parting: bool = True


class _Attempt:
    """One conversion, with some evaluation loaders left whole.

    ``begun`` holds what was followed before any edit that hangs on which those are: no attempt follows it again.
    """

    def __init__(
        self,
        script: Source,
        wanted: _Wanted,
        whole: frozenset[int],
        work: Work,
        begun: dict[tuple[str, ...], Program],
    ) -> None:
        self.script = script.path
        self.files = {script.path: Draft(script)}
        self.wanted = wanted
        self.whole = whole
        self.work = work
        self.begun = begun
        self.findings: list[Finding] = []
        self.told: list[Finding] = []

    def run(self) -> frozenset[int]:
        """Apply rules until none can mend anything; give the evaluation loaders that cannot be dealt after all."""
        try:
            return self._run()
        except TooLargeError as large:
            self.findings, self.wanted = [large.finding], replace(self.wanted, partial=False)
            return frozenset()

    def _run(self) -> frozenset[int]:
        """Apply rules until none can mend anything, or the work for it is too large."""
        learned: Learned | None = None
        for _ in range(PASSES):
            program = self._followed(learned)
            learned = learn(program)
            for source in program.sources:
                self.files.setdefault(source.path, Draft(source))
            blocked = self._mend(program)
            if blocked is not None:
                if blocked - self.whole:
                    return blocked
                if self.wanted.target != "hora":
                    self._translate(program)
                elif self.wanted.partial:
                    self._mark(program)
                return blocked
        codes = ", ".join(dict.fromkeys(code for file in self.files.values() for code in file.codes[-8:]))
        raise HoraError(
            self.wanted.asked, f"the rules do not come to an end ({codes})", "Please report this script.", status=3
        )

    @property
    def codes(self) -> frozenset[str]:
        """The rules that have mended something."""
        return frozenset(code for file in self.files.values() for code in file.codes)

    @property
    def refused(self) -> bool:
        """Whether something is refused."""
        return any(one.refusal for one in (*self.told, *self.findings))

    def _followed(self, learned: Learned | None = None) -> Program:
        """Follow the script as it stands."""
        texts = tuple(file.source.text for file in self.files.values())
        program = self.begun.get(texts)
        if program is None:
            edited = {path: file.source for path, file in self.files.items() if path != self.script}
            source = self.files[self.script].source
            program = _follow(source, self.whole, edited, self.wanted.asked, self.work, learned)
            if len(self.begun) < BEGUN:
                self.begun[texts] = program
        wanted = self.wanted
        in_step = wanted.target == "hora"
        return replace(program, whole=self.whole, asked_weak=wanted.weak, parting=wanted.parting, in_step=in_step)

    def _translate(self, program: Program) -> None:
        """Say the converted script in the target's words."""
        steps = [targets.translate, targets.complete]
        while steps and not any(one.refusal for one in (*self.findings, *self.told)):
            try:
                found = steps[0](program, self.wanted.target)
            except SharedLineError as shared:
                found = [_parted(program, hr101.CODE, shared)]
            else:
                del steps[0]
                # Their places are those of the text before it is changed once more.
                self.told += [self._mapped(one) for one in (*self.findings, *found) if not one.mendable]
                self.findings = []
            if not any(one.refusal for one in found):
                self._apply(program, [one for one in found if one.mendable], imports=False)
                program = self._followed()

    def _mark(self, program: Program) -> None:
        """Mark in the files what is refused."""
        marks = [
            replace(one, message="", edits=(remark(source, one.line, f"TODO(hora {one.code}): {one.message}"),))
            for one in dict.fromkeys(self.findings)
            for source in program.sources
            if one.refusal and str(source.path) == one.file
        ]
        self.told = [self._mapped(one) for one in self.findings]
        self.findings = []
        self._apply(program, marks, imports=False)

    def _mend(self, program: Program) -> frozenset[int] | None:
        """Apply the rules of the first stage that can mend something.

        Where there is none, or it would come too late, give the evaluation loaders that cannot be dealt.
        """
        blocked: frozenset[int] = frozenset()
        self.findings = []
        for group in (GATES, REFUSING):
            self.findings += [
                one for rule in group if rule.CODE not in self.wanted.skip for one in rule.detect(program)
            ]
            if any(one.refusal for one in self.findings) and not (self.wanted.partial and group is REFUSING):
                return self._blocked(program)
        for stage in (*MENDING, NOTING):
            mendable: list[Finding] = []
            for rule in stage:
                if rule.CODE in self.wanted.skip:
                    continue
                try:
                    findings = rule.detect(program)
                except SharedLineError as shared:
                    self._apply(program, [_parted(program, rule.CODE, shared)])
                    return None
                mendable += dict.fromkeys(finding for finding in findings if finding.mendable)
                self.findings += findings
            if mendable:
                self._apply(program, mendable)
                return None
            if any(rule.CODE == hr601.CODE for rule in stage):
                # What is not reduced by now never is: the stages to come have nothing to say of it.
                blocked = self._blocked(program)
                if blocked - self.whole:
                    break
        return blocked

    def _blocked(self, program: Program) -> frozenset[int]:
        """Give the evaluation loaders that cannot be dealt, as their metrics cannot be reduced."""
        return hr601.blocked(program) if hr601.CODE not in self.wanted.skip else frozenset()

    def _apply(self, program: Program, findings: list[Finding], *, imports: bool = True) -> None:
        """Mend what was found, in each file that it is in; a module that now uses the runtime imports it, if it may."""
        for path in dict.fromkeys(edit.path for finding in findings for edit in finding.edits or ()):
            file = self.files[path]
            here = [
                replace(one, edits=edits)
                for one in findings
                if (edits := tuple(edit for edit in one.edits or () if edit.path == path))
            ]
            uses = any(f"{program.runtime}." in edit.text for one in here for edit in one.edits or ())
            if imports and uses and path != self.script and imported(file.source.tree) != program.runtime:
                tree, message = file.source.tree, "hora.torch is not imported"
                here.append(program.finding(hr101.CODE, tree, message, [hr101.imports_it(program, file.source)]))
            try:
                file.apply(here)
            except (HoraError, ValueError) as error:
                codes = ", ".join(dict.fromkeys(finding.code for finding in here))
                found = f"{codes} wrote what cannot be ({error})"
                raise HoraError(self.wanted.asked, found, "Please report this script.", status=3) from error

    def _mapped(self, finding: Finding) -> Finding:
        """Give a finding with its place in the original."""
        by_name = {str(path): file for path, file in self.files.items()}
        return by_name[finding.file].mapped(finding) if finding.file in by_name else finding

    def conversion(self) -> Conversion:
        """Give the result: converted, or refused and unchanged."""
        found = [*self.told, *map(self._mapped, self.findings)]
        refusals = tuple(dict.fromkeys(one for one in found if one.refusal))
        notes = tuple(dict.fromkeys(one for one in found if one.note))
        gates = {rule.CODE for rule in GATES}
        refused = any(one.code in gates for one in refusals) or (bool(refusals) and not self.wanted.partial)
        files = tuple(file.converted(refused=refused) for file in self.files.values())
        return Conversion(self.script, files, refusals, notes)


def _file_of(program: Program, edits: tuple[Edit, ...]) -> Source:
    """Give the file that edits are made in."""
    return next(source for source in program.sources if source.path == edits[0].path)


def _parted(program: Program, code: str, shared: SharedLineError) -> Finding:
    """Give the statements that share a line, which a rule would edit, lines of their own."""
    tree = _file_of(program, shared.edits).tree
    return program.finding(code, tree, "a statement gets a line of its own", shared.edits)


def _follow(
    source: Source,
    whole: frozenset[int],
    edited: dict[Path, Source],
    asked: str,
    work: Work,
    learned: Learned | None = None,
) -> Program:
    """Follow a script that trains something, by itself or in a module of its own."""
    try:
        program = follow(source, whole, edited, learned, work)
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
