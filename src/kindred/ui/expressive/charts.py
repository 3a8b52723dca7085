"""Expressive similarity as pictures, in the colours of :mod:`kindred.ui.evaluation.charts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from kindred.expressive.aspects import ASPECTS
from kindred.expressive.scoring import Floats
from kindred.ui.evaluation.charts import SCALE, TEXT
from kindred.ui.expressive import words

#: Short enough for the axes of a small picture.
NAMES = [aspect.title.split()[0] for aspect in ASPECTS]
_GREY = "#857b71"
_MARGIN = {"l": 4, "r": 4, "t": 8, "b": 4}
_FONT = {"size": 12, "color": TEXT}
_SERIES = ["#000001", "#000002", "#000003"]


def matrix(values: Sequence[Sequence[float | None]], *, low: float = 0.0) -> go.Figure:
    """Five by five numbers, aspects down and across; what is not known is left empty."""
    table = np.array([[np.nan if v is None else v for v in row] for row in values], float)
    figure = go.Figure(
        go.Heatmap(
            z=table,
            x=NAMES,
            y=NAMES,
            zmin=low,
            zmax=1,
            colorscale=SCALE,
            showscale=False,
            xgap=2,
            ygap=2,
            # Without a colour, letters are dark or light as the cell needs.
            text=[["" if np.isnan(v) else words.number(v) for v in row] for row in table],
            texttemplate="%{text}",
            textfont={"size": 12},
            hovertemplate="%{y}, %{x}: %{z:.3f}<extra></extra>",
        )
    )
    figure.update_layout(height=250, margin=_MARGIN)
    figure.update_xaxes(side="top", **_axis())
    figure.update_yaxes(autorange="reversed", **_axis())
    return figure


def moments(scores: Floats, times: Sequence[float]) -> go.Figure:
    """How much each moment of one clip (down) and of another (across) speak for likeness."""
    figure = go.Figure(
        go.Heatmap(
            z=scores,
            x=list(times),
            y=list(times),
            colorscale=SCALE,
            colorbar={"thickness": 8, "outlinewidth": 0, "tickfont": _FONT, "nticks": 4},
            hovertemplate="%{y:.1f} s of the query, %{x:.1f} s of the answer: %{z:.3f}"
            "<extra></extra>",
        )
    )
    figure.update_layout(height=340, margin=_MARGIN)
    figure.update_xaxes(title="seconds of the answer", **_axis())
    figure.update_yaxes(title="seconds of the query", **_axis())
    return figure


def bars(values: Mapping[str, float]) -> go.Figure:
    """Each aspect's score."""
    figure = go.Figure(
        go.Bar(
            x=list(values.values()),
            y=[aspect.title for aspect in ASPECTS],
            orientation="h",
            text=[words.number(value) for value in values.values()],
            textposition="outside",
            textfont=_FONT,
            cliponaxis=False,
            marker={"color": _SERIES[0]},
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )
    low, high = min(0.0, *values.values()), max(0.2, *values.values())
    figure.update_layout(height=250, margin=_MARGIN, bargap=0.45)
    figure.update_xaxes(range=[1.2 * low, 1.18 * high], **_axis(showgrid=False))
    figure.update_yaxes(autorange="reversed", **_axis())
    return figure


def contest(rows: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """Means with their intervals, one scorer a row, and a dotted line where chance lies."""
    known = {name: value for name, value in rows.items() if value.get("mean") is not None}
    means = [value["mean"] for value in known.values()]
    arms = [
        [abs(value["mean"] - (value["mean"] if value[end] is None else value[end])) for end in (
            "low", "high")]
        for value in known.values()
    ]  # fmt: skip
    figure = go.Figure(
        go.Scatter(
            x=means,
            y=list(known),
            mode="markers",
            marker={"size": 10, "color": _SERIES[0]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high for _, high in arms],
                "arrayminus": [low for low, _ in arms],
                "color": _SERIES[0],
                "thickness": 3,
                "width": 0,
            },
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )
    chance = [value["chance"] for value in known.values() if value.get("chance") is not None]
    if chance:
        figure.add_vline(x=chance[0], line={"color": _GREY, "width": 1.5, "dash": "dot"})
    figure.update_layout(height=40 + 30 * len(known), margin=_MARGIN, showlegend=False)
    figure.update_xaxes(range=[0, 1], **_axis(showgrid=False))
    figure.update_yaxes(autorange="reversed", **_axis())
    return figure


def curves(kinds: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> go.Figure:
    """Validation after every epoch, a line a seed; seeds of a kind have one colour."""
    figure = go.Figure()
    for (name, seeds), colour, dash in zip(
        kinds.items(), _SERIES, ("solid", "dash", "dot"), strict=True
    ):
        for seed, epochs in enumerate(seeds):
            figure.add_scatter(
                x=[each["epoch"] for each in epochs],
                y=[each["validation"]["macro"] for each in epochs],
                name=name,
                legendgroup=name,
                showlegend=seed == 0,
                mode="lines",
                line={"color": colour, "width": 2, "dash": dash},
                hovertemplate=f"{name}, seed {seed + 1}, epoch %{{x}}: %{{y:.3f}}<extra></extra>",
            )
    figure.update_layout(
        height=340,
        margin=_MARGIN,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "font": _FONT},
    )
    figure.update_xaxes(title="epoch", **_axis())
    figure.update_yaxes(title="nDCG@10 on validation", **_axis(showgrid=True))
    return figure


def _axis(*, showgrid: bool = False) -> dict[str, Any]:
    return {
        "fixedrange": True,
        "showgrid": showgrid,
        "zeroline": False,
        "automargin": True,
        "tickfont": _FONT,
        "title_font": _FONT,
    }
