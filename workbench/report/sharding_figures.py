"""Figures of one model over several devices, laid out in three ways. They draw; they compute nothing.

What had to go elsewhere because the accelerators are full, and what a device lacks, is red.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench.planning.layouts import DeviceShare, Layout
from workbench.report.figures import (
    GRID,
    MEASURED,
    PALETTE,
    PREDICTED,
    TEXT,
    bounds,
    error_bars,
    log_ticks,
    safe,
    short,
    styled,
)
from workbench.units import GIB, format_bytes, format_value

if TYPE_CHECKING:
    import plotly.graph_objects as go

RED = "#C62828"
SPILLED = "spilled, or too much"
ROW_PX, TITLE_PX = 44, 64


def layouts(found: Sequence[Layout]) -> go.Figure:
    """The layouts below each other, a bar for each device, stacked by part; a line across it is what is free there."""
    from plotly.subplots import make_subplots

    rows = [max(1, len(one.devices)) for one in found]
    height = sum(ROW_PX * count + TITLE_PX for count in rows)
    figure = make_subplots(
        rows=len(found), shared_xaxes=True, row_heights=rows, vertical_spacing=TITLE_PX / height,
        subplot_titles=[_heading(one) for one in found],
    )  # fmt: skip
    colours = _colours(found)
    first = next((row for row, one in enumerate(found, 1) if one.devices), 0)
    for row, one in enumerate(found, 1):
        _add_bars(figure, row, one, colours, in_legend=row == first)
        if not one.devices:
            figure.add_annotation(
                row=row, col=1, x=0, y=0, text="cannot be laid out", showarrow=False, font={"color": RED},
                xref="x domain", xanchor="left", yref="y domain", yanchor="bottom",
            )  # fmt: skip
    figure.update_annotations(x=0, xanchor="left", xref="paper", align="left", font={"size": 13, "color": TEXT})
    figure.update_layout(barmode="stack", bargap=0.3)
    styled(figure, height=height + 60, entries=len(colours) + 1).update_layout(margin={"t": 34})
    figure.update_yaxes(
        autorange="reversed", automargin=True, gridcolor="rgba(0,0,0,0)", ticks="outside", ticklen=6,
        tickcolor="rgba(0,0,0,0)", zeroline=False,
    )  # fmt: skip
    for row, one in enumerate(found, 1):
        figure.update_yaxes(showticklabels=bool(one.devices), row=row, col=1)
    figure.update_xaxes(gridcolor=GRID, rangemode="tozero", automargin=True)
    return figure.update_xaxes(title={"text": "memory, GiB", "font": {"size": 13}}, row=len(found), col=1)


def seconds_per_token(found: Sequence[Layout]) -> go.Figure:
    """How long each layout takes for one token, with its interval, where it is known; a log scale."""
    import plotly.graph_objects as go

    known = [(one, time) for one in found if (time := one.seconds_per_token).value]
    intervals = [bounds(time) for _, time in known]
    figure = go.Figure()
    figure.add_scatter(
        mode="markers", x=[value for value, *_ in intervals], y=[_who(one.title) for one, _ in known],
        name="seconds for a token (90 %)", marker={"color": MEASURED, "size": 13},
        error_x=error_bars(intervals, color=PREDICTED),
        customdata=[safe(time) for _, time in known], hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip
    ends = [end for _, *ends in intervals for end in ends]
    figure.update_xaxes(type="log", title="seconds for a token", **log_ticks(ends))
    figure.update_yaxes(autorange="reversed")
    return styled(figure, height=80 + 50 * len(known), entries=1)


def _heading(one: Layout) -> str:
    time = one.seconds_per_token
    if not one.possible:
        pace = "cannot run"
    else:
        pace = "time unknown" if time.value is None else f"{format_value(time.value, 's')} a token"
    return f"<b>{_who(one.title)}</b><br>{pace}"


def _who(title: str) -> str:
    """Who lays out, and what it does after the colon, which a narrow page has no room for."""
    return safe(title.partition(":")[0])


def _colours(found: Sequence[Layout]) -> dict[str, str]:
    """A colour for each part that occurs."""
    names = dict.fromkeys(
        name for one in found for share in one.devices for name, size in _sizes(share).items() if size
    )
    others = [name for name in names if name != SPILLED]
    return {**dict(zip(others, PALETTE * 2, strict=False)), **({SPILLED: RED} if SPILLED in names else {})}


def _sizes(share: DeviceShare) -> Mapping[str, float]:
    """Bytes of each part of a device; of the weights, what spilled or is too much counts as a part of its own."""
    sizes = {name: float(part.value or 0) for name, part in share.memory.parts.items()}
    red = min(sizes["weights"], share.spilled_bytes + share.over_bytes)
    return {**sizes, "weights": sizes["weights"] - red, SPILLED: red}


def _add_bars(figure: Any, row: int, one: Layout, colours: Mapping[str, str], *, in_legend: bool) -> None:
    labels = [short(share.device) for share in one.devices]
    for name, colour in colours.items():
        sizes = [_sizes(share).get(name, 0.0) for share in one.devices]
        figure.add_bar(
            row=row, col=1, orientation="h", y=labels, x=[size / GIB for size in sizes], name=name, legendgroup=name,
            showlegend=in_legend, marker_color=colour, customdata=[format_bytes(size) for size in sizes],
            hovertemplate=f"{name}: %{{customdata}}<extra></extra>",
        )  # fmt: skip
    rooms = [(label, share.capacity_bytes) for label, share in zip(labels, one.devices, strict=True)]
    known = [(label, room) for label, room in rooms if room]
    figure.add_scatter(
        row=row, col=1, mode="markers", name="free", legendgroup="free", showlegend=in_legend,
        y=[label for label, _ in known], x=[room / GIB for _, room in known],
        marker={"symbol": "line-ns", "size": 26, "line": {"width": 3, "color": TEXT}, "color": TEXT},
        customdata=[format_bytes(room) for _, room in known], hovertemplate="%{customdata} free<extra></extra>",
    )  # fmt: skip
