"""How a conversion is shown: the code on standard output, what was done and why on standard error."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax

from hora.convert.conversion import Conversion
from hora.convert.finding import Finding


def show_code(conversion: Conversion, console: Console, *, diff: bool) -> None:
    """Print the converted script or its diff: coloured on a terminal, to the byte when piped."""
    text = conversion.diff() if diff else conversion.converted
    if console.is_terminal:
        console.print(Syntax(text, "diff" if diff else "python", background_color="default"))
    else:
        console.file.write(text)


def show_reasons(conversion: Conversion, console: Console, written: Path | None = None) -> None:
    """Print each edit's line, rule and reason, then notes, then where it was written, or what stands against it."""
    if conversion.refusals:
        console.print(f"[bold red]{conversion.path}: not converted, nothing written[/]", highlight=False)
        _findings(conversion.refusals, console, "red")
        return
    if not conversion.edits:
        console.print(f"{conversion.path}: nothing to convert", highlight=False)
    for line, code, why in dict.fromkeys((edit.line, edit.code, edit.reason) for edit in conversion.edits):
        console.print(f"[dim]line {line:>4}[/]  [bold]{code}[/]  {why}", highlight=False, soft_wrap=True)
    _findings(conversion.notes, console, "yellow")
    if written is not None and conversion.edits:
        original = "ORIGINAL" if written == conversion.path else conversion.path
        console.print(f"wrote {written}; next: hora verify -n 2 {original} {written}", highlight=False, soft_wrap=True)


def _findings(findings: tuple[Finding, ...], console: Console, colour: str) -> None:
    for finding in findings:
        where = f"{finding.file}:{finding.line}:{finding.column}"
        console.print(f"{where}: [{colour}]{finding.code}[/] {finding.message}", highlight=False, soft_wrap=True)
