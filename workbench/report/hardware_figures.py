"""Figures of hardware: memory beside bandwidth, and the guide's tiers. They draw; they compute nothing.

The two numbers of the first figure decide how big a model fits and how fast it can write at most: each token of an
answer reads all weights once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from math import log10
from typing import TYPE_CHECKING, Any

from workbench.planning.tiers import FAILS, HOLDS, Judgement
from workbench.report.figures import GRID, MEASURED, PALETTE, SYMBOLS, TEXT, log_ticks, safe, styled
from workbench.units import GIB, format_bytes

if TYPE_CHECKING:
    import plotly.graph_objects as go

READS_PER_S = (3, 10, 30)
LINE = "rgba(128,128,128,0.55)"
GIB_TICKS = (1, 4, 16, 64, 256, 1024)
#: Colours of verdicts; whatever holds only in fewer bits has the second.
GOOD, PARTLY, BAD = "#009E73", "#E69F00", "#D55E00"


@dataclass(frozen=True, slots=True)
class Spot:
    """Something with memory that is read: its name, its kind (a maker's name, or a word of our own), and the two."""

    name: str
    kind: str
    memory_bytes: float
    bytes_per_s: float


def bandwidth_and_memory(known: Sequence[Spot], marked: Sequence[Spot]) -> go.Figure:
    """Every accelerator as a point, the marked machines as large ones with their names.

    Along a dotted line the whole memory is read so many times a second: no model that fills it writes faster.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    sizes = [spot.memory_bytes / GIB for spot in (*known, *marked)] or [1.0]
    rates = [spot.bytes_per_s / 1e9 for spot in (*known, *marked)] or [1.0]
    _add_lines(figure, sizes, rates)
    for number, kind in enumerate(dict.fromkeys(spot.kind for spot in known)):
        figure.add_scatter(
            name=safe(kind), **_points([spot for spot in known if spot.kind == kind]), mode="markers",
            marker={"color": PALETTE[number % len(PALETTE)], "symbol": SYMBOLS[number % len(SYMBOLS)], "size": 7,
                    "opacity": 0.6},
        )  # fmt: skip
    if marked:
        places = list(islice(cycle(("top center", "bottom center")), len(marked)))  # neighbours keep apart
        figure.add_scatter(
            name="looked at", **_points(marked), mode="markers+text", text=[safe(spot.name) for spot in marked],
            textposition=places, cliponaxis=False, textfont={"color": TEXT, "size": 13},
            marker={"color": MEASURED, "symbol": "star", "size": 16, "line": {"width": 1, "color": "white"}},
        )  # fmt: skip
    figure.update_xaxes(type="log", title="memory, GiB", **_range(sizes), tickvals=GIB_TICKS, ticktext=GIB_TICKS)
    figure.update_yaxes(type="log", title="bandwidth, GB/s", **_range(rates), **log_ticks(rates))
    return styled(figure, height=380, entries=3).update_yaxes(gridcolor=GRID)


def _points(spots: Sequence[Spot]) -> dict[str, Any]:
    texts = [
        f"{safe(spot.name)}<br>{format_bytes(spot.memory_bytes)} at {spot.bytes_per_s / 1e9:,.3g} GB/s:<br>"
        f"read {spot.bytes_per_s / spot.memory_bytes:.3g} times a second" for spot in spots
    ]  # fmt: skip
    return {
        "x": [spot.memory_bytes / GIB for spot in spots], "y": [spot.bytes_per_s / 1e9 for spot in spots],
        "customdata": texts, "hovertemplate": "%{customdata}<extra></extra>",
    }  # fmt: skip


def _add_lines(figure: Any, sizes: Sequence[float], rates: Sequence[float]) -> None:
    """The dotted lines, and what each means where it leaves the figure, to the right or through the top."""
    for reads in READS_PER_S:
        ends = [min(sizes), max(sizes)]
        figure.add_scatter(
            mode="lines", x=ends, y=[reads * end * GIB / 1e9 for end in ends], showlegend=False, hoverinfo="skip",
            line={"color": LINE, "width": 1.5, "dash": "dot"},
        )  # fmt: skip
        x = min(max(sizes), max(rates) * 1e9 / GIB / reads)
        figure.add_annotation(
            x=log10(x), y=log10(reads * x * GIB / 1e9), text=f"{reads} reads/s", showarrow=False, xanchor="right",
            yanchor="bottom", font={"size": 11, "color": TEXT},
        )  # fmt: skip


def _range(values: Sequence[float]) -> dict[str, Any]:
    """A log axis with a little room at both ends."""
    return {"range": [log10(min(values) / 1.3), log10(max(values) * 1.5)]}


def tiers(judgements: Sequence[Judgement], titles: Mapping[str, str]) -> go.Figure:
    """What each suggestion needs as a share of what its tier has, as its words mean it. titles: of tiers, by name."""
    import plotly.graph_objects as go

    known = [one for one in judgements if one.share is not None]
    figure = go.Figure()
    for name, colour in (("holds", GOOD), ("holds only in fewer bits", PARTLY), ("does not hold", BAD)):
        mine = [(place, one) for place, one in enumerate(known) if _kind(one) == name]
        figure.add_bar(
            orientation="h", name=name, marker_color=colour, y=[place for place, _ in mine], width=0.42, offset=0.02,
            x=[100 * (one.share or 0) for _, one in mine], text=[safe(_in_short(one)) for _, one in mine],
            textposition="auto", textangle=0, insidetextfont={"color": "#1a1a1a" if colour == PARTLY else "white"},
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    for place, one in enumerate(known):  # above its bar, where a narrow page has room for it
        figure.add_annotation(
            xref="paper", x=0, y=place, text=f"{safe(one.says)} <i>{safe(_brief(titles[one.tier]))}</i>",
            font={"size": 12}, showarrow=False, xanchor="left", yanchor="bottom", borderpad=0,
        )  # fmt: skip
    figure.add_vline(x=100, line={"color": TEXT, "width": 2})
    figure.update_xaxes(type="log", title="needed, % of what the tier has", range=[0, 3.5], **log_ticks([1, 2000]))
    figure.update_yaxes(range=[len(known) - 0.4, -0.6], visible=False)
    return styled(figure, height=80 + 46 * len(known), entries=3)


def _kind(one: Judgement) -> str:
    return {HOLDS: "holds", FAILS: "does not hold"}.get(one.verdict, "holds only in fewer bits")


def _in_short(one: Judgement) -> str:
    return f"{one.share or 0:.0%}" + ("" if one.verdict in (HOLDS, FAILS) else f", {one.verdict.rsplit(' ', 1)[-1]}")


def _brief(title: str) -> str:
    """'24 GB VRAM' of 'High-end GPU (24 GB VRAM)'."""
    return title.partition("(")[2].rstrip(")") or title
