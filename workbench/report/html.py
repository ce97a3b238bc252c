"""The report: one HTML file that opens anywhere, also without a network, and holds every number with its basis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench import folders
from workbench.costs import Comparison
from workbench.evidence import Estimate, Measured
from workbench.measurement import Measurement
from workbench.planning import Plan, beside_bound
from workbench.report import figures
from workbench.units import format_usd


def write_report(
    plan: Plan, measurement: Measurement, comparison: Comparison, *, answer: str = "", path: Path | None = None
) -> Path:
    """Write the report to `path` (by default into the data folder) and return where it is."""
    path = (
        path or folders.data() / "reports" / f"{plan.created[:10]}-{folders.file_name(plan.model.name)}-{plan.id}.html"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(plan, measurement, comparison, answer), encoding="utf-8")
    return path


def render(plan: Plan, measurement: Measurement, comparison: Comparison, answer: str) -> str:
    """The report as HTML. Everything is escaped: names and answers come from strangers."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    table, bound = rows(measurement), measurement.decode_bound
    explained = [(title, estimate) for title, estimate, *_ in table]
    if bound.value is not None:
        explained.append((f"bound of decode, {bound}", bound))
    drawn = (
        figures.predicted_beside_measured(measurement.predictions, measurement.values, bound),
        figures.memory_breakdown(plan.memory[0], measurement.values.get("memory_peak")),
        figures.cost_of_tokens(comparison),
    )
    return environment.get_template("report.html.jinja").render(
        plan=plan, measurement=measurement, comparison=comparison, answer=answer, rows=table,
        bound=bound, explained=explained, usd=format_usd,
        machine=plan.machine, figures=_embed(drawn), environment=measurement.environment,
    )  # fmt: skip


def rows(measurement: Measurement) -> list[tuple[str, Estimate, Measured, str, str]]:
    """Quantity, prediction, measurement, the error in words and, of decode, what memory allows; in reading order."""
    table = []
    for name, title in figures.TITLES.items():
        if name not in measurement.values:
            continue
        estimate, measured = measurement.predictions[name], measurement.values[name]
        bound = beside_bound(measured.value, measurement.decode_bound) if name == "decode" else ""
        table.append((title, estimate, measured, error_in_words(estimate, measured), bound))
    return table


def error_in_words(estimate: Estimate, measured: Measured) -> str:
    """The signed error of a prediction, and whether the interval held: '+3.1 %, inside'."""
    error = estimate.error(measured.value)
    if error is None:
        return "not predicted"
    return f"{error:+.1%}, {'inside' if estimate.contains(measured.value) else 'outside'} the interval"


def _embed(drawn: tuple[Any, ...]) -> list[str]:
    """Figures as HTML; plotly's script comes along once, so that the file needs no network."""
    return [
        figure.to_html(
            full_html=False, include_plotlyjs=index == 0, config={"displayModeBar": False, "responsive": True}
        )
        for index, figure in enumerate(drawn)
    ]
