"""Evaluations as pictures.

A row of dots reads: the dot is the value, the bar its 95% interval, the tick what a random order
scores, and the line ends at what a perfect order would score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from kindred.evaluation.summary import BESIDE
from kindred.ui.evaluation.words import VARIANTS, ends_shown, shown
from kindred.ui.tracks import printable

#: Streamlit's options of a picture: no buttons on it.
BARE = {"displayModeBar": False}
#: Stand-ins for the theme's colours, which Streamlit's page puts in their place, light or dark.
TEXT = "#000037"
SERIES = {"plain": "#000001", "controlled": "#000002"}
SCALE = [f"#0000{number}" for number in range(11, 21)]
#: Can be seen on the light ground and on the dark one.
_GREY = "#857b71"
_SYMBOLS = {"plain": "circle", "controlled": "diamond"}


@dataclass(frozen=True)
class _Dot:
    series: str
    name: str
    value: float
    ends: Sequence[float] | None
    said: str
    chance: float | None = None
    best: float | None = None


def measure_chart(reports: Sequence[Mapping[str, Any]], measure: str) -> go.Figure:
    """One measure of every report, plain and leakage-controlled, with chance and the best."""
    groups = []
    for report in reports:
        dots = []
        for variant in BESIDE:
            item = report["variants"][variant][measure]
            if item["macro"] is not None:
                said = f"chance {shown(item['chance'])} · best {shown(item['ceiling'])}"
                dots.append(
                    _Dot(
                        variant, VARIANTS[variant], item["macro"], item["ci95"], said,
                        item["chance"], item["ceiling"],
                    )
                )  # fmt: skip
        groups.append((report["name"] if len(reports) > 1 else "", dots))
    return _dots(groups, limits=(0, 1), form=".2f")


def difference_chart(differences: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Differences of two reports each; right of 0 the first is better."""
    groups = []
    for item in differences:
        said = f"p {item['p_holm']:.3f} after Holm"
        dot = _Dot("plain", "", item["macro"], item["ci95"], said)
        groups.append((f"{item['first']} − {item['second']}", [dot]))
    far = [abs(end) for item in differences for end in (*(item["ci95"] or ()), item["macro"])]
    limit = max([0.05, *far]) * 1.1
    figure = _dots(groups, limits=(-limit, limit), form="+.3f")
    figure.add_vline(x=0, line={"color": _GREY, "width": 1.5, "dash": "dot"})
    return figure


def _dots(
    groups: Sequence[tuple[str, list[_Dot]]], *, limits: tuple[float, float], form: str
) -> go.Figure:
    """Dots on lines, each with its words above it; a group has a heading where it has a name."""
    figure, y, low, high = go.Figure(), 0.0, *limits
    placed: list[tuple[float, _Dot]] = []
    texts: list[tuple[float, str, str]] = []
    for name, dots in groups:
        if name:
            y -= 0.75
            texts.append((y, f"<b>{escape(printable(name), quote=False)}</b>", "left"))
        for dot in dots:
            y -= 1.0
            placed.append((y, dot))
            at = y + 0.42
            value = f"<b>{dot.value:{form}}</b>"
            if dot.ends is not None:
                value += f"  [{dot.ends[0]:{form}}, {dot.ends[1]:{form}}]"
            texts.append((at, " ".join(filter(None, (dot.name, value))), "left"))
            texts.append((at, dot.said, "right"))
    for at, dot in placed:
        end = high if dot.best is None else dot.best
        line = {"color": _GREY, "width": 1.5}
        figure.add_shape(type="line", x0=low, x1=end, y0=at, y1=at, line=line, opacity=0.45)
        if dot.best is not None:
            figure.add_shape(
                type="line", x0=end, x1=end, y0=at - 0.13, y1=at + 0.13, line=line, layer="below"
            )
        if dot.chance is not None:
            figure.add_shape(
                type="line", x0=dot.chance, x1=dot.chance, y0=at - 0.17, y1=at + 0.17,
                line={"color": _GREY, "width": 2.5},
            )  # fmt: skip
    for series, symbol in _SYMBOLS.items():
        mine = [(at, dot) for at, dot in placed if dot.series == series]
        figure.add_scatter(
            x=[dot.value for _, dot in mine],
            y=[at for at, _ in mine],
            mode="markers",
            marker={"size": 12, "symbol": symbol, "opacity": 1, "color": SERIES[series]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [dot.ends[1] - dot.value if dot.ends else 0 for _, dot in mine],
                "arrayminus": [dot.value - dot.ends[0] if dot.ends else 0 for _, dot in mine],
                "color": SERIES[series],
                "thickness": 4,
                "width": 0,
            },
            customdata=[
                f"{dot.name} {dot.value:{form}} {ends_shown(dot.ends, form)}" for _, dot in mine
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    for at, text, side in texts:
        figure.add_annotation(
            x=0 if side == "left" else 1, xref="paper", y=at, text=text, showarrow=False,
            xanchor=side, align=side, font={"size": 12, "color": TEXT},
        )  # fmt: skip
    figure.update_layout(
        height=int(46 * -y + 44), margin={"l": 4, "r": 4, "t": 4, "b": 28}, showlegend=False,
    )  # fmt: skip
    figure.update_xaxes(
        range=[low - 0.015 * (high - low), high + 0.015 * (high - low)],
        fixedrange=True, zeroline=False, showgrid=False, title=None, nticks=6,
        tickfont={"color": TEXT},
    )  # fmt: skip
    figure.update_yaxes(range=[y - 0.5, -0.25], fixedrange=True, visible=False)
    return figure


def confusion_chart(rows: Sequence[str], columns: Sequence[str], shares: np.ndarray) -> go.Figure:
    """Of the answers to queries of a row's label, the share that is of each column's.

    Columns have the numbers of the rows, which fit a telephone; names are in the hover text.
    """
    used = [n for n, name in enumerate(columns) if n < len(rows) or shares[:, n].any()]
    short = [str(n + 1) if n < len(rows) else columns[n] for n in used]
    figure = go.Figure(
        go.Heatmap(
            z=shares[:, used],
            x=list(range(len(used))),
            y=list(range(len(rows))),
            customdata=[
                [[escape(printable(row)), escape(printable(columns[n]))] for n in used]
                for row in rows
            ],
            hovertemplate="%{customdata[0]} → %{customdata[1]}: %{z:.0%}<extra></extra>",
            xgap=1,
            ygap=1,
            zmin=0,
            colorscale=SCALE,
            colorbar={
                "orientation": "h",
                "y": 1,
                "yanchor": "bottom",
                "thickness": 8,
                "outlinewidth": 0,
                "tickformat": ".0%",
                "tickfont": {"color": TEXT},
                "nticks": 6,
            },
        )
    )
    axis = {"fixedrange": True, "showgrid": False, "zeroline": False, "automargin": True}
    font = {"size": 11, "color": TEXT}
    figure.update_layout(height=110 + 22 * len(rows), margin={"l": 4, "r": 4, "t": 8, "b": 8})
    figure.update_xaxes(
        tickvals=list(range(len(used))),
        ticktext=short,
        tickangle=0 if len(used) <= 12 else -90,
        tickfont=font | {"size": 10},
        **axis,
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[f"{_axis_name(name)}  {n}" for n, name in enumerate(rows, 1)],
        autorange="reversed",
        tickfont=font,
        **axis,
    )
    return figure


def _axis_name(name: str, longest: int = 24) -> str:
    text = printable(name)
    return escape(text if len(text) <= longest else f"{text[: longest - 1]}…", quote=False)
