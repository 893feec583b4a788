"""How a conversion is shown: the code on standard output, what was done and why on standard error."""

from __future__ import annotations

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


def show_reasons(conversion: Conversion, console: Console) -> None:
    """Print each edit's line, rule and reason, then notes, then what stands against the conversion."""
    if conversion.refusals:
        console.print(f"[bold red]{conversion.path}: not converted, nothing written[/]", highlight=False)
        _findings(conversion.refusals, console, "red")
        return
    if not conversion.edits:
        console.print(f"{conversion.path}: nothing to convert", highlight=False)
    for line, code, why in dict.fromkeys((edit.line, edit.code, edit.reason) for edit in conversion.edits):
        console.print(f"[dim]line {line:>4}[/]  [bold]{code}[/]  {why}", highlight=False, soft_wrap=True)
    _findings(conversion.notes, console, "yellow")


def _findings(findings: tuple[Finding, ...], console: Console, colour: str) -> None:
    for finding in findings:
        where = f"{finding.file}:{finding.line}:{finding.column}"
        console.print(f"{where}: [{colour}]{finding.code}[/] {finding.message}", highlight=False, soft_wrap=True)
