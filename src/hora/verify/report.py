"""How a verification is shown: a box with *verdict, why, next*, then the evidence."""

from __future__ import annotations

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hora.verify.result import Answer, Verification

_COLOURS: dict[Answer, str] = {"equivalent": "green", "not-equivalent": "red", "cannot-tell": "yellow"}


def show(result: Verification, console: Console) -> None:
    """Print a verification for a reader."""
    answer = result.verdict.replace("-", " ").upper()
    if result.verdict == "equivalent" and "BatchNorm" in result.neutralised:
        answer += " with synchronised BatchNorm"
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="bold", no_wrap=True)
    lines.add_column()
    lines.add_row("Verdict", Text(answer, style=f"bold {_COLOURS[result.verdict]}"))
    lines.add_row("Why", result.why)
    lines.add_row("Next", result.next)
    evidence = Table.grid(padding=(0, 2))
    evidence.add_column(style="dim", no_wrap=True)
    evidence.add_column()
    for name, value in _evidence(result):
        evidence.add_row(name, value)
    console.print(Panel(Group(lines, Text(), evidence), border_style=_COLOURS[result.verdict], title="hora verify"))


def _evidence(result: Verification) -> list[tuple[str, str]]:
    rows = [("compared", f"{result.workers} workers with one, {result.steps} steps, in {result.precision}")]
    if result.max_relative_difference is not None:
        rows.append(("largest difference", f"{result.max_relative_difference:.1e} of a layer's gradient"))
    if result.noise_floor is not None:
        rows.append(("noise floor", f"{result.noise_floor:.1e} (one worker, batches permuted within)"))
    if result.cause is not None:
        rows.append(("cause", result.cause))
    if result.neutralised:
        rows.append(("neutralised", ", ".join(result.neutralised)))
    if result.unjudged:
        rows.append(("noise, not judged", ", ".join(result.unjudged)))
    rows.extend(("remark", remark) for remark in result.remarks)
    return rows
