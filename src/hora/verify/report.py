"""How a verification is shown: a box with *verdict, why, next*, then the evidence."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hora.verify.result import Answer, Verification

_COLOURS: dict[Answer, str] = {"equivalent": "green", "not-equivalent": "red", "cannot-tell": "yellow"}


def show(result: Verification, console: Console) -> None:
    """Print a verification for a reader."""
    answers = [("Verdict", answer(result)), ("Why", result.why), ("Next", result.next)]
    if not console.is_terminal:
        for name, value in [*answers, *evidence(result)]:
            console.print(f"{name}: {value}", soft_wrap=True, highlight=False, markup=False, emoji=False)
        return
    colour = _COLOURS[result.verdict]
    rows: list[RenderableType] = [_grid(answers, "bold", f"bold {colour}"), Text(), _grid(evidence(result), "dim", "")]
    console.print(Panel(Group(*rows), border_style=colour, title="hora verify"))


def _grid(rows: list[tuple[str, str]], names: str, first: str) -> Table:
    """Lay rows out in two columns; the first row's value has a style of its own."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=names, no_wrap=True)
    grid.add_column()
    for index, (name, value) in enumerate(rows):
        grid.add_row(name, Text(value, style=first if index == 0 else ""))
    return grid


def answer(result: Verification) -> str:
    """The verdict in the words of a report."""
    words = result.verdict.replace("-", " ").upper()
    normalised = result.verdict == "equivalent" and "BatchNorm" in result.neutralised
    return f"{words} with synchronised BatchNorm" if normalised else words


def evidence(result: Verification) -> list[tuple[str, str]]:
    """What the verdict rests on, as names and values."""
    rows = []
    if result.steps:
        one = f"one on {result.joined} batches at once" if result.joined > 1 else "one"
        rows.append(("compared", f"{result.workers} workers with {one}, {result.steps} steps, in {result.precision}"))
    if result.max_relative_difference is not None:
        rows.append(("largest difference", f"{result.max_relative_difference:.1e} of a layer's gradient"))
    if result.noise_floor is not None:
        how = "one worker, batches permuted within" if result.permuted else "taken for it: no batch can be permuted"
        rows.append(("noise floor", f"{result.noise_floor:.1e} ({how})"))
    if result.statistics_drift is not None:
        apart = f"{result.statistics_drift:.1e} between workers, each normalising its own slice"
        rows.append(("BatchNorm's statistics", apart if result.statistics_drift else "kept alike by the script itself"))
    if result.confirmed is not None:
        found = result.confirmed
        rows.append(("cause", f"{found.code}, line {found.line}: {found.reason}"))
        rows.append(("confirmed", f"the difference is gone with {' / '.join(found.text.splitlines())}"))
    elif result.cause is not None:
        rows.append(("cause", result.cause))
    if result.neutralised:
        rows.append(("neutralised", ", ".join(result.neutralised)))
    if result.unjudged:
        rows.append(("noise, not judged", ", ".join(result.unjudged)))
    rows.extend(("remark", remark) for remark in result.remarks)
    return rows
