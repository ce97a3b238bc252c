"""The figures: the same ones in the notebook, on the dashboard and in the report. They draw; they compute nothing.

Backgrounds are transparent and text is mid-grey, so that a figure reads on light and on dark pages.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from itertools import cycle, zip_longest
from typing import TYPE_CHECKING, Any

from workbench.costs import Comparison
from workbench.evidence import Breakdown, Estimate, Measured
from workbench.planning import beside_bound, share_in_words
from workbench.units import format_bytes, format_usd, format_value

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Okabe and Ito's colours: told apart by people with any colour vision.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
PREDICTED, MEASURED, TEXT, GRID = "#56B4E9", "#D55E00", "#808080", "rgba(128,128,128,0.25)"

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon")
Bounds = tuple[float, float, float]  # value, low, high

NARROW = 0.09  # of the whole memory: parts below have no label

TITLES = {
    "memory_peak": "peak memory",
    "host_memory_peak": "peak main memory",
    "prefill": "prefill",
    "decode": "decode",
    "ttft": "time to first token",
}


def predicted_beside_measured(
    predictions: Mapping[str, Estimate], values: Mapping[str, Measured], bound: Estimate | None = None
) -> go.Figure:
    """Each quantity as a share of its prediction: the interval as a bar, the prediction as a line, what was measured
    as a point. Beside decode stands its share of `bound`, which may lie many times farther than anything drawn."""
    import plotly.graph_objects as go

    names = [name for name in TITLES if name in values and name in predictions]
    names = [name for name in names if predictions[name].value is not None][::-1]
    labels = [TITLES[name] for name in names]
    estimates = [bounds(predictions[name]) for name in names]
    shares, besides = [""] * len(names), [""] * len(names)
    if bound is not None and bound.value is not None and "decode" in names:
        place, decode = names.index("decode"), values["decode"].value
        shares[place], besides[place] = share_in_words(decode, bound), beside_bound(decode, bound)
    figure = go.Figure()
    figure.add_bar(
        orientation="h", y=labels, name="predicted interval (90 %)", marker_color=PREDICTED, opacity=0.45, width=0.45,
        base=[100 * low / value for value, low, _ in estimates],
        x=[100 * (high - low) / value for value, low, high in estimates],
        customdata=[str(predictions[name]) for name in names], hovertemplate="%{y}: %{customdata}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        mode="markers", y=labels, name="measured", marker={"color": MEASURED, "size": 13},
        x=[100 * values[n].value / e[0] for n, e in zip(names, estimates, strict=True)],
        customdata=["<br>".join(filter(None, (str(values[n]), said))) for n, said in zip(names, besides, strict=True)],
        hovertemplate="%{y}: %{customdata}<extra></extra>",
    )  # fmt: skip
    figure.add_vline(x=100, line={"color": PREDICTED, "width": 2})
    figure.update_xaxes(title="share of the prediction, %", rangemode="tozero")
    figure.update_yaxes(
        range=[-0.5, len(names) - 0.5],
        **_with_values(labels, [format_value(values[n].value, values[n].unit) for n in names], shares),
    )
    return styled(figure, height=70 + 60 * len(names), entries=2)


def memory_breakdown(breakdown: Breakdown, measured: Measured | None = None) -> go.Figure:
    """The predicted parts of the peak memory, stacked, and the measured peak below."""
    import plotly.graph_objects as go

    figure = go.Figure()
    whole = max(sum(part.value or 0 for part in breakdown.parts.values()), measured.value if measured else 0)
    for colour, (name, part) in zip(cycle(PALETTE), breakdown.parts.items()):
        if part.value:  # neither unknown nor nothing
            size = format_bytes(part.value)
            figure.add_bar(
                orientation="h", y=["predicted"], x=[part.value / 2**20], name=f"{name} {size}", marker_color=colour,
                text=[size if part.value >= NARROW * whole else ""], textposition="inside",
                insidetextanchor="middle", textangle=0,
                hovertemplate=f"{name}: {part}<extra></extra>",
            )  # fmt: skip
    if measured:
        figure.add_bar(
            orientation="h", y=["measured"], x=[measured.value / 2**20], marker_color=TEXT,
            name=f"measured peak {format_bytes(measured.value)}", text=[format_bytes(measured.value)],
            textposition="inside", insidetextanchor="middle", textangle=0, hovertemplate=f"{measured}<extra></extra>",
        )  # fmt: skip
    # A label that its part has no room for is left out: the legend has the value too.
    figure.update_layout(barmode="stack", uniformtext={"mode": "hide", "minsize": 12})
    figure.update_xaxes(title="memory, MiB")
    figure.update_yaxes(autorange="reversed")
    return styled(figure, height=170 if measured else 120, entries=len(figure.data))


def cost_of_tokens(comparison: Comparison) -> go.Figure:
    """USD for a million output tokens: electricity here with its interval, and the APIs' list prices (log scale)."""
    import plotly.graph_objects as go

    here, apis = comparison.output, comparison.apis
    names = ["here, electricity only", *(api.title for api in apis)]
    prices = [format_usd(price) for price in (here.usd_per_mtok, *(api.output_usd_per_mtok for api in apis))]
    figure = go.Figure()
    figure.add_scatter(
        mode="markers", x=[float(here.usd_per_mtok)], y=names[:1], name="electricity here",
        marker={"color": MEASURED, "size": 13}, opacity=0.9,
        error_x=error_bars([(float(here.usd_per_mtok), float(here.low), float(here.high))], color=MEASURED),
    )  # fmt: skip
    figure.add_scatter(
        mode="markers", x=[float(api.output_usd_per_mtok) for api in apis], y=names[1:],
        name="list price of the API", marker={"color": PREDICTED, "size": 13, "symbol": "diamond"},
    )  # fmt: skip
    figure.update_xaxes(type="log", title="USD per million<br>output tokens", tickprefix="$", dtick=2)
    figure.update_yaxes(autorange="reversed", **_with_values(names, prices))
    return styled(figure, height=80 + 50 * len(names), entries=2)


def bounds(estimate: Estimate) -> Bounds:
    """Value, low and high of an estimate that is known; raises ValueError for another."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        raise ValueError(f"unknown: {estimate.reason}")
    return estimate.value, estimate.low, estimate.high


def error_bars(found: Sequence[Bounds], *, color: str, thickness: int = 6, width: int = 0) -> dict[str, Any]:
    """The intervals around the points of a trace."""
    return {
        "type": "data", "symmetric": False, "color": color, "thickness": thickness, "width": width,
        "array": [high - value for value, _, high in found], "arrayminus": [value - low for value, low, _ in found],
    }  # fmt: skip


def safe(text: object) -> str:
    """Text of a stranger inside a figure, which takes markup."""
    return html.escape(str(text), quote=False)


def short(device: str) -> str:
    """The name of a device on two lines where it is long: half of a narrow page is for the bars."""
    head, _, tail = safe(device).partition(": ")
    return f"{head}<br>{tail}" if tail else head


def log_ticks(values: Sequence[float]) -> dict[str, Any]:
    """Ticks of a log axis, the fewer to each power of ten the more of these there are."""
    if not values:
        return {}
    least, most = min(values), max(values)
    steps = (1, 2, 3, 4, 6, 8) if most < 6 * least else (1, 2, 5) if most < 300 * least else (1,)
    exponents = range(-4, 6)
    at = [step * 10.0**exponent for exponent in exponents for step in steps]
    return {"tickmode": "array", "tickvals": at, "ticktext": [f"{value:g}" for value in at]}


def _with_values(names: Sequence[str], values: Sequence[str], notes: Sequence[str] = ()) -> dict[str, Any]:
    """The values, and what is noted of them, below the names of an axis: there they lie on nothing, however narrow the
    page is."""
    texts = [f"{name}<br><b>{value}</b>" for name, value in zip(names, values, strict=True)]
    texts = [f"{text}<br>{note}" if note else text for text, note in zip_longest(texts, notes)]
    return {"tickmode": "array", "tickvals": list(names), "ticktext": texts}


def styled(figure: Any, height: int, entries: int) -> Any:
    """The common look; `height` is without the legend, which has `entries` lines on a narrow page."""
    return figure.update_layout(
        template="none", height=height + 20 * entries, autosize=True, margin={"l": 8, "r": 16, "t": 8, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", font={"color": TEXT, "size": 13},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "xref": "container", "x": 0,
                "xanchor": "left", "traceorder": "normal"},
        xaxis={"gridcolor": GRID, "zerolinecolor": GRID, "automargin": True, "title": {"font": {"size": 13}}},
        yaxis={"gridcolor": "rgba(0,0,0,0)", "automargin": True, "ticks": "outside", "ticklen": 6,
               "tickcolor": "rgba(0,0,0,0)"},
    )  # fmt: skip
