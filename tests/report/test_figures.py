"""The figures draw what they are given, and leave out what is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from workbench.evidence import Basis, Breakdown, Estimate, Measured
from workbench.report import figures

Tell = Callable[..., Any]


def test_predicted_beside_measured(story: Tell) -> None:
    made, measurement, _ = story()
    figure = figures.predicted_beside_measured(made.predictions, measurement.values)
    bar, points = figure.data
    assert (bar.type, points.type) == ("bar", "scatter")
    assert list(bar.y) == list(points.y) == ["time to first token", "decode", "prefill", "peak memory"]
    decode = made.predictions["decode"]
    assert points.x[1] == pytest.approx(100 * 2000 / decode.known())
    assert bar.base[1] == pytest.approx(100 * decode.low / decode.known())
    assert bar.base[1] + bar.x[1] == pytest.approx(100 * decode.high / decode.known())


def test_beside_decode_stands_its_share_of_the_bound(story: Tell) -> None:
    made, measurement, _ = story()
    figure = figures.predicted_beside_measured(made.predictions, measurement.values, measurement.decode_bound)
    assert "decode<br><b>2,000 tok/s</b><br>25% of the bound" in figure.layout.yaxis.ticktext
    assert figure.data[1].customdata[1].endswith("<br>25% of the bound, 8,000 tok/s")
    assert figure.to_json().count("of the bound") == 2
    unknown = Estimate.unknown("tok/s", "not calibrated")
    assert "bound" not in str(figures.predicted_beside_measured(made.predictions, measurement.values, unknown))


def test_what_is_unknown_or_not_measured_is_left_out(story: Tell) -> None:
    made, measurement, _ = story()
    predictions = {**made.predictions, "decode": Estimate.unknown("tok/s", "not calibrated")}
    values = {name: value for name, value in measurement.values.items() if name != "ttft"}
    figure = figures.predicted_beside_measured(predictions, values)
    assert len(figure.data) == 2
    assert list(figure.data[0].y) == list(figure.data[1].y) == ["prefill", "peak memory"]


def breakdown(*values: float | None) -> Breakdown:
    parts = (
        Estimate.unknown("B", "why") if value is None else Estimate.within(value, "B", Basis("made up"), 0, 0)
        for value in values
    )
    return Breakdown("RAM", {f"part {index}": part for index, part in enumerate(parts)})


def test_the_parts_of_the_memory_and_the_peak() -> None:
    figure = figures.memory_breakdown(breakdown(2**20, 2**21, 2**22), Measured((2.0**23,), "B", "PSS"))
    assert [(trace.name, *trace.x) for trace in figure.data] == [
        ("part 0 1 MiB", 1), ("part 1 2 MiB", 2), ("part 2 4 MiB", 4), ("measured peak 8 MiB", 8)
    ]  # fmt: skip
    assert figure.layout.barmode == "stack"
    assert len({trace.marker.color for trace in figure.data}) == 4


def test_without_a_measurement_only_the_parts() -> None:
    assert len(figures.memory_breakdown(breakdown(1, 2)).data) == 2


def test_an_unknown_part_is_left_out() -> None:
    assert [trace.name for trace in figures.memory_breakdown(breakdown(1, None, 3)).data] == [
        "part 0 1 B",
        "part 2 3 B",
    ]


def test_a_narrow_part_has_its_value_in_the_legend_only() -> None:
    narrow, wide = figures.memory_breakdown(breakdown(8, 92)).data
    assert (narrow.name, narrow.text[0]) == ("part 0 8 B", "")
    assert (wide.name, wide.text[0]) == ("part 1 92 B", "92 B")


def test_no_part_is_dropped_for_want_of_a_colour() -> None:
    count = len(figures.PALETTE) + 2
    assert len(figures.memory_breakdown(breakdown(*range(1, count + 1))).data) == count


def test_the_cost_of_tokens(story: Tell) -> None:
    *_, comparison = story()
    here, figure = comparison.output, figures.cost_of_tokens(comparison)
    shown = {y: x for trace in figure.data for y, x in zip(trace.y, trace.x, strict=True)}
    assert shown == {
        "here, electricity only": float(here.usd_per_mtok),
        **{api.title: float(api.output_usd_per_mtok) for api in comparison.apis},
    }
    bounds = figure.data[0].error_x
    assert bounds.array[0] == pytest.approx(float(here.high - here.usd_per_mtok))
    assert bounds.arrayminus[0] == pytest.approx(float(here.usd_per_mtok - here.low))
    assert figure.layout.xaxis.type == "log"


def test_measured_values_and_prices_stand_beside_the_plot(story: Tell) -> None:
    made, measurement, comparison = story()
    measured = figures.predicted_beside_measured(made.predictions, measurement.values)
    assert "decode<br><b>2,000 tok/s</b>" in measured.layout.yaxis.ticktext
    cost = figures.cost_of_tokens(comparison)
    assert len(cost.layout.yaxis.ticktext) == 1 + len(comparison.apis)
    assert all(trace.text is None for figure in (measured, cost) for trace in figure.data)


def test_figures_read_on_light_and_on_dark_pages(story: Tell) -> None:
    made, measurement, comparison = story()
    drawn = (
        figures.predicted_beside_measured(made.predictions, measurement.values),
        figures.memory_breakdown(made.memory[0]),
        figures.cost_of_tokens(replace(comparison, apis=())),
    )
    for figure in drawn:
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
        assert figure.layout.font.color == figures.TEXT
        assert (figure.layout.width, figure.layout.autosize) == (None, True)
        assert figure.layout.legend.yref == "container"  # never on the plot, whatever the width


def test_a_device_without_a_number_is_escaped_too() -> None:
    assert figures.short("<b>card") == "&lt;b&gt;card"
    assert figures.short("GPU 0: <b>card") == "GPU 0<br>&lt;b&gt;card"


def test_a_bound_of_nothing_still_has_ticks() -> None:
    assert figures.log_ticks([0.0, 5.0])["tickvals"][:2] == [1e-4, 1e-3]
