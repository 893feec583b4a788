"""How a conversion is shown: the code on standard output, what was done and why on standard error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax

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
    conversion: Conversion, console: Console, written: Sequence[Path] = (), others: Sequence[Path] = ()
) -> None:
    """Print each edit's line, rule and reason, then notes, then what was written, or what stands against it.

    ``others`` are scripts that import what was written over.
    """
    if conversion.refusals:
        console.print(f"[bold red]{conversion.path}: not converted, nothing written[/]", highlight=False)
        _findings(conversion.refusals, console, "red")
        return
    if not conversion.edits:
        console.print(f"{conversion.path}: nothing to convert", highlight=False)
    several = len(conversion.changed) > 1 or conversion.script not in conversion.changed
    for file in conversion.changed:
        if several:
            console.print(f"[bold]{file.path}[/]", highlight=False)
        _edits(file, console)
    _findings(conversion.notes, console, "yellow")
    alone = [str(file.path) for file in conversion.files if not file.changed and file is not conversion.script]
    if conversion.changed and several and alone:
        console.print(f"left as they are: {', '.join(alone)}", highlight=False, soft_wrap=True)
    if written and conversion.edits:
        original = "ORIGINAL" if written[0] == conversion.path else conversion.path
        more = f" and {len(written) - 1} more" if len(written) > 1 else ""
        told = f"wrote {written[0]}{more}; next: hora verify -n 2 {original} {written[0]}"
        console.print(told, highlight=False, soft_wrap=True)
    if others:
        told = f"these scripts import what has changed, and are to be converted, too: {', '.join(map(str, others))}"
        console.print(told, highlight=False, soft_wrap=True)


def _edits(file: ConvertedFile, console: Console) -> None:
    """Print what was done to a file, line by line."""
    for line, code, why in dict.fromkeys((edit.line, edit.code, edit.reason) for edit in file.edits):
        console.print(f"[dim]line {line:>4}[/]  [bold]{code}[/]  {why}", highlight=False, soft_wrap=True)


def _findings(findings: tuple[Finding, ...], console: Console, colour: str) -> None:
    for finding in findings:
        where = f"{finding.file}:{finding.line}:{finding.column}"
        console.print(f"{where}: [{colour}]{finding.code}[/] {finding.message}", highlight=False, soft_wrap=True)
