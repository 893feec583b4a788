"""Convert a script that is written for Horovod: its imports first, then, for torch alone, each use of the runtime."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from hora.convert.conversion import Conversion
from hora.convert.distributed import hr306
from hora.convert.distributed.script import Script
from hora.convert.draft import Draft
from hora.convert.edits import SharedLineError
from hora.convert.entries import needed
from hora.convert.finding import Finding
from hora.convert.follow import follow
from hora.convert.horovod import gates, wrappers
from hora.convert.horovod.modules import renamed, uses
from hora.convert.horovod.saying import left, names, say
from hora.convert.source import Source, read
from hora.convert.work import TooLargeError, Work
from hora.errors import HoraError

TARGETS = ("hora", "ddp")
"""What a script that is written for Horovod can be converted to."""
_ALL = frozenset(range(1000))
_PARTED = "a statement gets a line of its own"


def convert_horovod(path: Path, to: str) -> Conversion:
    """Convert a script that is written for Horovod, with the modules of its own that it may import.

    Parameters
    ----------
    path
        The script.
    to
        ``"hora"`` for Hora's runtime, which has Horovod's names; ``"ddp"`` for torch's own words.

    Raises
    ------
    HoraError
        The file cannot be read or is not Python 3, nothing of it imports Horovod, or there is no such target.
    """
    asked = f"convert --from horovod --to {to} {path}"
    if to not in TARGETS:
        found = "it is said in Horovod's words already" if to == "horovod" else "there is no such target"
        raise HoraError(asked, found, f"Name one of {', '.join(TARGETS)}.")
    script = read(path, asked)
    files = [one for one in (script, *(read(own, asked) for own in needed(script))) if uses(one)]
    if not files:
        raise HoraError(
            asked,
            f"nothing of Horovod is imported in {path}, or in what it imports",
            f"A script for one device is converted without it: hora convert --to {to} {path}",
        )
    drafts = {one.path: Draft(one) for one in dict.fromkeys((script, *files))}
    told: list[Finding] = []
    for source in files:
        imports = renamed(source)
        drafts[source.path].apply([one for one in imports if one.mendable])
        told += [one for one in imports if one.refusal]
    told += [note for source in files for note in _early_readers(source)]
    if to == "ddp" and not any(one.refusal for one in told):
        told += _said(asked, path, drafts)
    return _conversion(path, drafts, told)


def _said(asked: str, path: Path, drafts: dict[Path, Draft]) -> list[Finding]:
    """Say the script in torch's words; give what stands against it, and what the reader should know."""
    told: list[Finding] = []
    had = defaultdict(frozenset, {own: names(draft.source) for own, draft in drafts.items()})
    steps = [gates.detect, say, wrappers.detect]
    try:
        while steps and not any(one.refusal for one in told):
            edited = {own: draft.source for own, draft in drafts.items() if own != path}
            program = follow(drafts[path].source, _ALL, edited, None, Work())
            for source in program.sources:
                drafts.setdefault(source.path, Draft(source))
            try:
                found = steps[0](program)
            except SharedLineError as shared:
                parted = program.finding("HR101", program.source.tree, _PARTED, shared.edits)
                drafts[shared.edits[0].path].apply([parted])
                continue
            del steps[0]
            told += [_mapped(drafts, one) for one in found if not one.mendable]
            if not any(one.refusal for one in found):
                _apply(asked, drafts, [one for one in found if one.mendable])
    except TooLargeError as large:
        return [_mapped(drafts, large.finding)]
    if not any(one.refusal for one in told):
        told += [_mapped(drafts, one) for own, draft in drafts.items() for one in left(draft.source, had[own])]
    return told


def _apply(asked: str, drafts: dict[Path, Draft], findings: list[Finding]) -> None:
    """Make the edits, file by file."""
    for own, draft in drafts.items():
        here = [
            replace(one, edits=edits)
            for one in findings
            if (edits := tuple(edit for edit in one.edits or () if edit.path == own))
        ]
        try:
            draft.apply(here)
        except (HoraError, ValueError) as error:
            found = f"what was written cannot be ({error})"
            raise HoraError(asked, found, "Please report this script.", status=3) from error


def _mapped(drafts: dict[Path, Draft], finding: Finding) -> Finding:
    """Give a finding with its place in the original."""
    by_name = {str(own): draft for own, draft in drafts.items()}
    return by_name[finding.file].mapped(finding)


def _early_readers(source: Source) -> list[Finding]:
    """Note where gradients are read before Horovod has reduced them, and after it in what the script becomes."""
    message = "gradients are read here, which Horovod has not reduced yet; in what this becomes they are"
    found = hr306.unreduced(Script(source))
    return [Finding(one.code, one.file, one.line, one.column, message, ()) for one in found]


def _conversion(path: Path, drafts: dict[Path, Draft], told: list[Finding]) -> Conversion:
    """Give the result: converted, or refused and unchanged."""
    refusals = tuple(dict.fromkeys(one for one in told if one.refusal))
    notes = tuple(dict.fromkeys(one for one in told if one.note))
    return Conversion(path, tuple(one.converted(refused=bool(refusals)) for one in drafts.values()), refusals, notes)
