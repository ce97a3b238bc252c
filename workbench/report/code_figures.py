"""Figures of evaluations of code. They draw; they compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.measurement.code import Evaluation
from workbench.report.figures import MEASURED, error_bars, safe, styled

if TYPE_CHECKING:
    import plotly.graph_objects as go

ROW_PX = 56


def pass_at_1(found: Sequence[Evaluation]) -> go.Figure:
    """The share of problems that each model solves at the first try, with its interval; best first."""
    import plotly.graph_objects as go

    ranked = sorted(found, key=lambda one: one.pass_at(), reverse=True)
    scores = [(100 * value, 100 * low, 100 * high) for value, low, high in (one.pass_at() for one in ranked)]
    labels = [f"{name(one)}<br><b>{safe(solved(one))}</b>" for one in ranked]
    figure = go.Figure()
    figure.add_scatter(
        mode="markers", x=[value for value, _, _ in scores], y=[*range(len(ranked))],
        name="pass@1: solved at the first try; bars: 9 times in 10",
        marker={"color": MEASURED, "size": 13}, error_x=error_bars(scores, color=MEASURED),
        customdata=[f"{value:.0f} % ({low:.0f} to {high:.0f} %)" for value, low, high in scores],
        hovertemplate="%{customdata}<extra></extra>", showlegend=True,
    )  # fmt: skip
    figure.update_xaxes(title="problems solved, %", range=[-2, 102])
    figure.update_yaxes(
        tickmode="array", tickvals=[*range(len(ranked))], ticktext=labels, range=[len(ranked) - 0.5, -0.5]
    )
    return styled(figure, height=80 + ROW_PX * len(ranked), entries=1)


def name(one: Evaluation) -> str:
    """What was evaluated, safe inside a figure."""
    details = [one.engine, *([one.format] if one.format != "gguf" else []), one.mode]
    return f"{safe(one.model)}<br>{safe(', '.join(details))}"


def solved(one: Evaluation) -> str:
    """How many problems were solved; a share of them where several answers were asked for."""
    if one.samples == 1:
        return f"{sum(result.passed for result in one.results)} of {len(one.results)}"
    return f"{one.pass_at()[0]:.1%} of {len(one.results)}"
