"""The figures of the lessons, drawn from what they have just computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor

from hora.learn.batches import Descents
from hora.learn.neuron import Data, predict
from hora.learn.schedules import Message

BLUE, RED, GREEN, GREY = "#2f6db5", "#c8442f", "#2e8b57", "#8a8f98"
COLOURS = (BLUE, RED, GREEN, "#b8860b", "#7a52a3", "#3a9ea5")


def framed(title: str, x: str, y: str, *, height: int = 400, **axes: Any) -> go.Figure:
    """Return an empty figure with named axes."""
    figure = go.Figure()
    figure.update_layout(
        title={"text": title, "font": {"size": 15}},
        xaxis_title=x,
        yaxis_title=y,
        height=height,
        template="plotly_white",
        margin={"l": 60, "r": 20, "t": 50, "b": 50},
        legend={"orientation": "h", "y": -0.2},
        **axes,
    )
    return figure


def line_and_samples(data: Data, lines: Mapping[str, tuple[float, float]]) -> go.Figure:
    """Draw the samples and, under their names, lines of given ``(w, b)``."""
    figure = framed("Samples and lines", "x", "y")
    figure.add_scatter(x=data.x.tolist(), y=data.y.tolist(), mode="markers", name="samples", marker_color=GREY)
    ends = torch.stack([data.x.min(), data.x.max()])
    for colour, (name, (w, b)) in zip(COLOURS, lines.items(), strict=False):
        y = predict(ends, torch.tensor(w), torch.tensor(b))
        figure.add_scatter(x=ends.tolist(), y=y.tolist(), mode="lines", name=name, line={"color": colour, "width": 3})
    return figure


def surface_with_paths(
    ws: Tensor, bs: Tensor, losses: Tensor, paths: Mapping[str, Tensor], lowest: Tensor
) -> go.Figure:
    """Draw the loss as contours over ``(w, b)``, and descents as paths of shape (steps + 1, 2)."""
    figure = framed("The loss over (w, b)", "w", "b", height=460)
    figure.add_contour(
        x=ws.tolist(),
        y=bs.tolist(),
        z=losses.log10().tolist(),
        colorscale="Blues",
        ncontours=24,
        colorbar={"title": "log10 loss"},
        hovertemplate="w %{x:.2f}, b %{y:.2f}: log10 loss %{z:.2f}<extra></extra>",
    )
    for colour, (name, path) in zip((RED, GREEN, "#b8860b"), paths.items(), strict=False):
        figure.add_scatter(
            x=path[:, 0].tolist(), y=path[:, 1].tolist(), mode="lines+markers", name=name, marker_size=5,
            line={"color": colour, "width": 1.5},
        )  # fmt: skip
    figure.add_scatter(
        x=[float(lowest[0])], y=[float(lowest[1])], mode="markers", name="least loss",
        marker={"symbol": "star", "size": 14, "color": "black"},
    )  # fmt: skip
    figure.update_xaxes(range=[float(ws[0]), float(ws[-1])])
    figure.update_yaxes(range=[float(bs[0]), float(bs[-1])])
    return figure


def curves(
    title: str, x: str, y: str, lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, log: str = "",
    dashed: Sequence[str] = (),
) -> go.Figure:  # fmt: skip
    """Draw named lines of ``(xs, ys)``; `log` names the axes that are logarithmic (``"xy"``)."""
    figure = framed(title, x, y)
    for colour, (name, (xs, ys)) in zip(COLOURS, lines.items(), strict=False):
        style = {"color": colour, "dash": "dash" if name in dashed else "solid"}
        mode = "lines" if name in dashed else "lines+markers"
        figure.add_scatter(x=list(xs), y=list(ys), mode=mode, name=name, line=style)
    if "x" in log:
        figure.update_xaxes(type="log", dtick=0.30103 if "2" in log else 1, tickformat="~g")
    if "y" in log:
        figure.update_yaxes(type="log")
    return figure


def steps_against_batch(descents: Sequence[Descents]) -> go.Figure:
    """Draw the steps that each batch size needs, beside a line on which twice the batch is half the steps."""
    batches = [one.batch for one in descents]
    ideal = [descents[0].steps * descents[0].batch / batch for batch in batches]
    return curves(
        "Steps to the loss",
        "batch size",
        "steps",
        {"measured": (batches, [one.steps for one in descents]), "twice the batch, half the steps": (batches, ideal)},
        log="xy2",
        dashed=["twice the batch, half the steps"],
    )


def bars(title: str, x: str, y: str, groups: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> go.Figure:
    """Draw groups of bars side by side, each of ``(xs, heights)``."""
    figure = framed(title, x, y, barmode="group")
    for colour, (name, (xs, heights)) in zip((RED, GREEN, BLUE), groups.items(), strict=False):
        figure.add_bar(x=[str(one) for one in xs], y=list(heights), name=name, marker_color=colour)
    figure.update_xaxes(type="category")
    return figure


def parts_on_workers(vectors: Sequence[Sequence[float]], messages: Sequence[Message]) -> go.Figure:
    """Draw the parts that each worker holds, and the messages of the round that led there as arrows."""
    workers, parts = len(vectors), len(vectors[0])
    figure = framed("Parts on workers, and the round's messages", "", "part", height=180 + 40 * parts)
    figure.add_heatmap(
        x=[f"worker {rank}" for rank in range(workers)],
        y=[f"part {part}" for part in range(parts)],
        z=[[vector[part] for vector in vectors] for part in range(parts)],
        zmin=0,
        zmax=workers,
        colorscale="Blues",
        texttemplate="%{z:g}",
        showscale=False,
        xgap=3,
        ygap=3,
    )
    for message in messages:
        figure.add_annotation(
            x=message.target, y=message.part, ax=message.source, ay=message.part, axref="x", ayref="y", text="",
            arrowhead=2, arrowwidth=2, arrowcolor=RED if message.adds else GREEN, standoff=18, startstandoff=18,
        )  # fmt: skip
    return figure


def timeline(title: str, spans: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Draw spans of ``what``, ``begin`` and ``end`` (milliseconds) as bars over time, backward first."""
    figure = framed(title, "milliseconds since backward began", "", height=160 + 26 * len(spans))
    for span in spans:
        figure.add_bar(
            x=[span["end"] - span["begin"]],
            y=[span["what"]],
            base=[span["begin"]],
            orientation="h",
            marker_color=GREY if span["what"] == "backward" else BLUE,
            showlegend=False,
        )
    figure.update_yaxes(autorange="reversed")
    figure.add_vline(x=spans[0]["end"], line={"color": RED, "dash": "dot"})
    return figure
