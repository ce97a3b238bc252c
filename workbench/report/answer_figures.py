"""Figures of answers: each engine's prediction beside what was measured. They draw; they compute nothing.

Before an engine has answered, its prediction is drawn alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from workbench.evidence import Estimate
from workbench.measurement import Compared
from workbench.measurement.images import Drawn
from workbench.measurement.listening import Listened
from workbench.report.figures import MEASURED, PREDICTED, TEXT, bounds, safe, styled
from workbench.units import MIB, format_value

if TYPE_CHECKING:
    import plotly.graph_objects as go

Answered = Compared | Listened | Drawn


@dataclass(frozen=True, slots=True)
class Axis:
    """How a quantity is drawn: the title of its axis, and how many of the quantity's units one of the axis has."""

    title: str
    unit: str
    scale: float = 1.0


AXES: Final = {
    "decode": Axis("tokens per second", "tok/s"),
    "ttft": Axis("time to first token, ms", "s", 1e-3),
    "memory_peak": Axis("memory, MiB", "B", MIB),
    "window": Axis("seconds for 30 s of sound", "s"),
    "step": Axis("seconds of a denoising step", "s"),
}


def decode(found: Sequence[Compared]) -> go.Figure:
    """How fast each engine writes, and what memory bandwidth would allow it."""
    figure = _beside(found, "decode")
    known = [(one, one.bound) for one in found if one.bound.value is not None]
    if known:
        figure.add_scatter(
            mode="markers", name="bound by memory bandwidth", y=[safe(one.label) for one, _ in known],
            x=[bound.value for _, bound in known],
            customdata=["<br>".join(filter(None, (one.beside_bound, _said(bound)))) for one, bound in known],
            marker={"symbol": "line-ns", "size": 30, "color": TEXT, "line": {"width": 3, "color": TEXT}},
            hovertemplate="%{customdata}<extra></extra>",
        )  # fmt: skip
    return _styled(figure, found, "decode")


def ttft(found: Sequence[Compared]) -> go.Figure:
    """How long each engine takes to the first token of its answer."""
    return _styled(_beside(found, "ttft"), found, "ttft")


def window(found: Sequence[Listened]) -> go.Figure:
    """How long each engine works for a window of 30 s; below that it keeps up with a speaker."""
    return _styled(_beside(found, "window"), found, "window")


def step(found: Sequence[Drawn]) -> go.Figure:
    """How long a denoising step of all pictures takes."""
    return _styled(_beside(found, "step"), found, "step")


def memory(found: Sequence[Answered]) -> go.Figure:
    """The predicted peak of each engine's memory, which the longest prompt takes, and what it held after its answer."""
    return _styled(_beside(found, "memory_peak"), found, "memory_peak")


def _beside(found: Sequence[Answered], name: str) -> Any:
    import plotly.graph_objects as go

    scale, figure = AXES[name].scale, go.Figure()
    known = [(one, bounds(one.predicted[name])) for one in found if one.predicted[name].value is not None]
    labels = [safe(one.label) for one, _ in known]
    texts = [_said(one.predicted[name]) for one, _ in known]
    if known:
        figure.add_bar(
            orientation="h", y=labels, name="predicted interval (90 %)", marker_color=PREDICTED, opacity=0.45,
            width=0.45, base=[low / scale for _, (_, low, _) in known],
            x=[(high - low) / scale for _, (_, low, high) in known],
            customdata=texts, hovertemplate="%{customdata}<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            mode="markers", y=labels, x=[value / scale for _, (value, _, _) in known], name="predicted",
            marker={"symbol": "line-ns", "size": 22, "color": PREDICTED, "line": {"width": 2, "color": PREDICTED}},
            customdata=texts, hovertemplate="%{customdata}<extra></extra>",
        )  # fmt: skip
    seen = [(one, one.measured[name]) for one in found if name in one.measured]
    if seen:
        figure.add_scatter(
            mode="markers", y=[safe(one.label) for one, _ in seen], x=[value / scale for _, value in seen],
            name="measured", marker={"color": MEASURED, "size": 13},
            customdata=[format_value(value, AXES[name].unit) for _, value in seen],
            hovertemplate="%{customdata}<extra></extra>",
        )  # fmt: skip
    return figure


def _styled(figure: Any, found: Sequence[Answered], name: str) -> Any:
    labels = [safe(one.label) for one in found]
    figure.update_xaxes(title=AXES[name].title, rangemode="tozero", tickangle=0, nticks=6)
    figure.update_yaxes(
        range=[len(labels) - 0.5, -0.5], categoryorder="array", categoryarray=labels, tickmode="array",
        tickvals=labels, ticktext=[_tick(one, name) for one in found],
    )  # fmt: skip
    return styled(figure, height=70 + 60 * len(labels), entries=len(figure.data))


def _tick(one: Answered, name: str) -> str:
    """Engine, format and value on two lines: half of a narrow page is for the bars."""
    return f"{safe(one.plan.engine.title)}<br>{safe(one.plan.model.quantization)}: <b>{_value(one, name)}</b>"


def _value(one: Answered, name: str) -> str:
    """What was measured, or that it was only predicted."""
    if name in one.measured:
        return format_value(one.measured[name], AXES[name].unit)
    expected = one.predicted[name]
    return "unknown" if expected.value is None else f"about {format_value(expected.value, expected.unit)}"


def _said(found: Estimate) -> str:
    return f"{found}<br>{safe(found.basis.method)}"
