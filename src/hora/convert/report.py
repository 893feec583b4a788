"""How a conversion is shown: the code on standard output, what was done and why on standard error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from hora.convert.conversion import Conversion, ConvertedFile
from hora.convert.finding import Finding


def show_code(conversion: Conversion, console: Console, *, diff: bool) -> None:
    """Print the converted script or the diff of all files: coloured on a terminal, to the byte when piped."""
    text = conversion.diff() if diff else conversion.converted
    if console.is_terminal:
        console.print(Syntax(text, "diff" if diff else "python", background_color="default"))
    else:
        console.file.write(text)


def show_reasons(
    conversion: Conversion,
    console: Console,
    written: Sequence[Path] = (),
    others: Sequence[Path] = (),
    *,
    proof: str = "hora verify",
) -> None:
    """Print each edit's line, rule and reason, then notes, then what was written, or what stands against it.

    ``others`` are scripts that import what was written over; ``proof`` is the command to go on with.
    """
    if conversion.refused:
        _say(console, (f"{conversion.path}: not converted, nothing written", "bold red"))
        _findings(conversion.refusals, console, "red")
        return
    if not conversion.edits:
        _say(console, f"{conversion.path}: nothing to convert")
    several = len(conversion.changed) > 1 or conversion.script not in conversion.changed
    for file in conversion.changed:
        if several:
            _say(console, (str(file.path), "bold"))
        _edits(file, console)
    _findings(conversion.notes, console, "yellow")
    if conversion.refusals:
        _say(
            console,
            ("left to you, marked TODO(hora …) in the converted script, which is wrong without it:", "bold red"),
        )
        _findings(conversion.refusals, console, "red")
    alone = [str(file.path) for file in conversion.files if not file.changed and file is not conversion.script]
    if conversion.changed and several and alone:
        _say(console, f"left as they are: {', '.join(alone)}")
    if written and conversion.refusals:
        _say(console, f"wrote {written[0]}")
    elif written and conversion.edits:
        original = "ORIGINAL" if written[0] == conversion.path else conversion.path
        scripts = f"{original} {written[0]}" if proof == "hora verify" else written[0]
        more = f" and {len(written) - 1} more" if len(written) > 1 else ""
        told = f"wrote {written[0]}{more}; next: {proof} -n 2 {scripts}"
        _say(console, told)
    if others:
        told = f"these scripts import what has changed, and are to be converted, too: {', '.join(map(str, others))}"
        _say(console, told)


def _edits(file: ConvertedFile, console: Console) -> None:
    """Print what was done to a file, line by line."""
    for line, code, why in dict.fromkeys((edit.line, edit.code, edit.reason) for edit in file.edits):
        _say(console, (f"line {line:>4}", "dim"), "  ", (code, "bold"), f"  {why}")


def _findings(findings: tuple[Finding, ...], console: Console, colour: str) -> None:
    for finding in findings:
        where = f"{finding.file}:{finding.line}:{finding.column}"
        _say(console, f"{where}: ", (finding.code, colour), f" {finding.message}")


def _say(console: Console, *parts: str | tuple[str, str]) -> None:
    """Print a line of words, some with a style, as they are: rich would make an emoji of ``main.py:100:``."""
    console.print(Text.assemble(*parts), soft_wrap=True)
