"""Figures of what could run: ranked plans, memory by device, all accelerators. They draw; they compute nothing.

Speeds are drawn so that higher is better: tokens, or pictures a minute, or seconds of speech for each second of work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from workbench.evidence import Breakdown, Estimate
from workbench.planning import Fit, Plan
from workbench.planning.table import Row
from workbench.report.figures import (
    GRID,
    MEASURED,
    NARROW,
    PALETTE,
    PREDICTED,
    SYMBOLS,
    TEXT,
    Bounds,
    error_bars,
    log_ticks,
    safe,
    short,
    styled,
)
from workbench.report.text import format_of, where
from workbench.units import GIB, format_bytes

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: How each quantity of speed is drawn: its name for an axis, and what it becomes.
AXES = {
    "decode": "tokens per second",
    "image": "pictures per minute",
    "real_time_factor": "seconds of speech per second",
}


def plan_label(plan: Plan) -> str:
    """A plan in a few words: 'llama.cpp, Q4_K_M, GeForce RTX 3090'."""
    return f"{plan.engine.title}, {format_of(plan.model)}, {where(plan) or 'CPU'}"


def quantity(speed: Mapping[str, Estimate]) -> str:
    """The quantity by which this kind of model is fast or slow."""
    return next(name for name in AXES if name in speed)


def rate(speed: Mapping[str, Estimate]) -> Bounds | None:
    """Value, low and high of what AXES names; None where it is unknown."""
    name = quantity(speed)
    found = speed[name]
    if found.value is None or found.low is None or found.high is None:
        return None
    if name == "decode":
        return found.value, found.low, found.high
    scale = 60.0 if name == "image" else 1.0
    return scale / found.value, scale / found.high, scale / max(found.low, 1e-9)


def choices(plans: Sequence[Plan]) -> go.Figure:
    """Every plan that fits and whose speed is known: memory across, speed up with its interval; the best one is ringed.

    A log scale both ways: twice as far is as many times more.
    """
    import plotly.graph_objects as go

    known = [(plan, _need(plan), bounds) for plan in plans if (bounds := rate(plan.speed))]
    figure = go.Figure()
    for number, title in enumerate(dict.fromkeys(plan.engine.title for plan, _, _ in known)):
        mine = [one for one in known if one[0].engine.title == title]
        figure.add_scatter(
            mode="markers", name=title, x=[need / GIB for _, need, _ in mine], y=[b[0] for *_, b in mine],
            error_y=error_bars([b for *_, b in mine], color=TEXT, thickness=1, width=3),
            marker={"color": PALETTE[number % len(PALETTE)], "symbol": SYMBOLS[number % len(SYMBOLS)], "size": 9},
            customdata=[_hover(plan) for plan, *_ in mine], hovertemplate="%{customdata}<extra></extra>",
        )  # fmt: skip
    if known and known[0][0] is plans[0]:
        plan, need, bounds = known[0]
        figure.add_scatter(
            mode="markers", name=f"first choice: {plan.engine.title} {format_of(plan.model)}", x=[need / GIB],
            y=[bounds[0]], hoverinfo="skip",
            marker={"symbol": "circle-open", "size": 20, "color": MEASURED, "line": {"width": 3}},
        )  # fmt: skip
        if (allowed := plan.decode_bound).value is not None:
            figure.add_scatter(
                mode="markers", name="what memory allows it", x=[need / GIB], y=[allowed.value], hoverinfo="skip",
                marker={"symbol": "line-ew", "size": 20, "color": MEASURED, "line": {"width": 3, "color": MEASURED}},
            )  # fmt: skip
    figure.update_xaxes(type="log", title="memory, GiB", **log_ticks([need / GIB for _, need, _ in known]))
    name = quantity(plans[0].speed) if plans else "decode"
    figure.update_yaxes(type="log", title=AXES[name], gridcolor=GRID, **log_ticks([b for *_, bs in known for b in bs]))
    return _on_paper(styled(figure, height=340, entries=len(figure.data)))


def needs(plans: Sequence[Plan]) -> go.Figure:
    """The memory of each plan with its interval, beside what is free: for machines whose speed nobody knows."""
    import plotly.graph_objects as go

    labels = [f"{plan.engine.title} {format_of(plan.model)}" for plan in plans]
    fits = [plan.fits[0] for plan in plans]
    values = [(fit.need.value or 0) / GIB for fit in fits]
    figure = go.Figure()
    figure.add_bar(
        orientation="h", y=labels, x=values, name="needed", marker_color=PREDICTED,
        error_x={"type": "data", "symmetric": False, "color": TEXT,
                 "array": [((f.need.high or 0) - (f.need.value or 0)) / GIB for f in fits],
                 "arrayminus": [((f.need.value or 0) - (f.need.low or 0)) / GIB for f in fits]},
        customdata=[str(fit) for fit in fits], hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip
    _add_rooms(figure, labels, fits)
    figure.update_xaxes(title="memory, GiB", rangemode="tozero")
    figure.update_yaxes(autorange="reversed")
    return styled(figure, height=80 + 28 * len(labels), entries=2)


def memory_by_device(memory: Sequence[Breakdown], fits: Sequence[Fit]) -> go.Figure:
    """One bar per device, stacked by part, and what is free there as a line across the bar."""
    import plotly.graph_objects as go

    figure = go.Figure()
    whole = max([sum(part.value or 0 for part in one.parts.values()) for one in memory], default=0)
    names = dict.fromkeys(name for one in memory for name, part in one.parts.items() if part.value)
    for colour, name in zip(cycle(PALETTE), names):
        parts = [one.parts.get(name) for one in memory]
        sizes = [(part.value or 0) if part else 0 for part in parts]
        figure.add_bar(
            orientation="h", y=[short(one.device) for one in memory], x=[size / GIB for size in sizes], name=name,
            marker_color=colour, textposition="inside", insidetextanchor="middle", textangle=0,
            text=[format_bytes(size) if size >= NARROW * whole else "" for size in sizes],
            customdata=[str(part) for part in parts], hovertemplate=f"{name}: %{{customdata}}<extra></extra>",
        )  # fmt: skip
    _add_rooms(figure, [short(one.device) for one in memory], fits)
    figure.update_layout(barmode="stack", uniformtext={"mode": "hide", "minsize": 12})
    figure.update_xaxes(title="memory, GiB", rangemode="tozero")
    figure.update_yaxes(autorange="reversed")
    return styled(figure, height=90 + 52 * len(memory), entries=len(figure.data))


def every_accelerator(rows: Sequence[Row], titles: Mapping[str, str]) -> go.Figure:
    """One point per accelerator: its memory across, the speed of the best format that fits it up. titles: by device."""
    import plotly.graph_objects as go

    known = [(row, bounds) for row in rows if row.room_bytes and (bounds := rate(row.speed))]
    figure = go.Figure()
    formats = dict.fromkeys(row.format for row, _ in sorted(known, key=lambda pair: -pair[0].bits))
    for number, name in enumerate(formats):
        mine = [pair for pair in known if pair[0].format == name]
        figure.add_scatter(
            mode="markers", name=name, x=[(row.room_bytes or 0) / GIB for row, _ in mine], y=[b[0] for _, b in mine],
            marker={"color": PALETTE[number % len(PALETTE)], "symbol": SYMBOLS[number % len(SYMBOLS)], "size": 8,
                    "opacity": 0.75},
            customdata=[f"{safe(titles.get(row.device, row.device))}<br>{row.format}, {row.main}" for row, _ in mine],
            hovertemplate="%{customdata}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(
        type="log",
        title="memory of the accelerator, GiB",
        **log_ticks([(row.room_bytes or 0) / GIB for row, _ in known]),
    )
    name = quantity(rows[0].speed) if rows else "decode"
    figure.update_yaxes(type="log", title=AXES[name], gridcolor=GRID, **log_ticks([b[0] for _, b in known]))
    return _on_paper(styled(figure, height=340, entries=(len(formats) + 1) // 2))


def _need(plan: Plan) -> float:
    """Bytes on the devices of a plan together, or in main memory."""
    count = max(1, len(plan.settings.devices))
    return sum(one.total.value or 0 for one in plan.memory[:count])


def _hover(plan: Plan) -> str:
    speed, allowed = plan.speed[quantity(plan.speed)], plan.decode_bound
    lines = [safe(plan_label(plan)), plan.memory[0].total, speed]
    lines += [f"memory allows {allowed}"] if allowed.value is not None else []
    return "<br>".join(str(line) for line in (*lines, plan.verdict))


def _add_rooms(figure: Any, labels: Sequence[str], fits: Sequence[Fit]) -> None:
    """What is free on each device, as a line across its bar."""
    known = [(label, fit.free_bytes) for label, fit in zip(labels, fits, strict=False) if fit.free_bytes]
    if known:
        figure.add_scatter(
            mode="markers", name="free", y=[label for label, _ in known], x=[free / GIB for _, free in known],
            marker={"symbol": "line-ns", "size": 30, "line": {"width": 3, "color": MEASURED}, "color": MEASURED},
            customdata=[format_bytes(free) for _, free in known], hovertemplate="%{customdata} free<extra></extra>",
        )  # fmt: skip


def _on_paper(figure: Any) -> Any:
    """Grid lines both ways, for figures whose both axes are numbers."""
    return figure.update_yaxes(gridcolor=GRID)
