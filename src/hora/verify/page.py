"""A verification as one page: differences step by step against the floor, per tensor, samples, what was neutralised."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hora.errors import HoraError
from hora.verify.report import answer, evidence
from hora.verify.result import Verification

_COLOURS = {"one": "#5b6c7d", "several": "#0b6e99", "floor": "#b0b7bf"}


def check_page(path: Path) -> None:
    """Tell before the runs start whether `write_page` can write there.

    Raises
    ------
    HoraError
        The directory is not there, or plotly is not installed.
    """
    asked = f"write the page {path}"
    if not path.absolute().parent.is_dir():
        raise HoraError(asked, f"there is no directory {path.absolute().parent}", "Make it, or name another")
    try:
        import plotly  # noqa: F401
    except ImportError:
        raise HoraError(asked, "plotly, which draws it, is not installed", "pip install 'hora[report]'") from None


def write_page(results: Sequence[Verification], script: Path, path: Path) -> None:
    """Write the evidence of one script's verifications, for several numbers of workers, as a page that needs no other.

    Raises
    ------
    HoraError
        As `check_page`.
    """
    check_page(path)
    from jinja2 import Environment, PackageLoader, select_autoescape
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("hora.verify", "."), autoescape=select_autoescape(["jinja"]), trim_blocks=True
    )
    sections = [
        {
            "result": result,
            "answer": answer(result),
            "rows": evidence(result),
            "differences": _differences(result),
            "losses": _losses(result),
        }
        for result in results
    ]
    page = environment.get_template("page.html.jinja").render(script=script, sections=sections, plotly=get_plotlyjs())
    with tempfile.NamedTemporaryFile("w", dir=path.absolute().parent, delete=False, encoding="utf-8") as file:
        file.write(page)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def _differences(result: Verification) -> str:
    steps = [step.step for step in result.by_step]
    # A logarithm has no place for zero: what is equal to the bit lies on the precision's own resolution.
    least = 2.0**-52 if result.precision == "float64" else 2.0**-23
    lines = [
        ("largest difference", [max(step.difference or 0.0, least) for step in result.by_step], _COLOURS["several"]),
    ]
    if result.noise_floor is not None:
        lines.append(("noise floor", [max(result.noise_floor, least)] * len(steps), _COLOURS["floor"]))
    return _figure(steps, lines, "difference of a gradient, on its layer's scale", log=True)


def _losses(result: Verification) -> str:
    if not any(step.loss is not None for step in result.by_step):
        return ""
    lines = [
        ("one worker", [step.loss for step in result.by_step], _COLOURS["one"]),
        (f"{result.workers} workers", [step.loss_of_several for step in result.by_step], _COLOURS["several"]),
    ]
    return _figure([step.step for step in result.by_step], lines, "loss", log=False)


def _figure(steps: list[int], lines: Sequence[tuple[str, Any, str]], title: str, *, log: bool) -> str:
    import plotly.graph_objects as go

    figure = go.Figure()
    for index, (name, values, colour) in enumerate(lines):
        dash = "dot" if index else "solid"
        figure.add_scatter(x=steps, y=values, name=name, mode="lines+markers", line={"color": colour, "dash": dash})
    figure.update_layout(
        template="plotly_white",
        height=320,
        margin={"l": 70, "r": 20, "t": 20, "b": 45},
        legend={"orientation": "h", "y": 1.12},
        xaxis={"title": "optimizer step"},
        yaxis={"title": title, "type": "log" if log else "linear", "exponentformat": "power"},
    )
    html: str = figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False})
    return html
