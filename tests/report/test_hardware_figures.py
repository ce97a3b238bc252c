"""The figures of hardware draw every point they are given, and what a tier's suggestion needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.machine import Machine
from workbench.planning import tiers
from workbench.planning.tiers import Judgement
from workbench.report import hardware_figures
from workbench.report.hardware_figures import Spot
from workbench.units import GIB

CARDS = [Spot("A <b>card</b>", "NVIDIA", 24 * GIB, 936e9), Spot("B", "AMD", 16 * GIB, 640e9)]


def test_every_accelerator_is_a_point_and_the_marked_ones_have_names() -> None:
    figure = hardware_figures.bandwidth_and_memory(CARDS, [Spot("this <i>one</i>", "processor", 8 * GIB, 40e9)])
    points = {(x, y) for trace in figure.data if trace.mode == "markers" for x, y in zip(trace.x, trace.y, strict=True)}
    assert points == {(24, 936), (16, 640)}
    marked = figure.data[-1]
    assert (marked.x[0], marked.y[0], marked.text[0]) == (8, 40, "this &lt;i&gt;one&lt;/i&gt;")
    assert "<b>card" not in str(figure.to_dict())


def test_along_a_line_the_memory_is_read_as_often_everywhere() -> None:
    lines = [trace for trace in hardware_figures.bandwidth_and_memory(CARDS, []).data if trace.mode == "lines"]
    assert len(lines) == len(hardware_figures.READS_PER_S)
    for reads, line in zip(hardware_figures.READS_PER_S, lines, strict=True):
        assert [y * 1e9 / (x * GIB) for x, y in zip(line.x, line.y, strict=True)] == pytest.approx([reads, reads])


def test_with_nothing_there_is_still_a_figure() -> None:
    assert hardware_figures.bandwidth_and_memory([], []).layout.height


@pytest.fixture
def judged(machine: Machine) -> list[Judgement]:
    one = tiers.tiers()["high-end-24gb"]
    return [tiers.judge(one, suggestion, one.machines[0], machine) for suggestion in one.suggestions]


def test_a_bar_is_as_long_as_the_share_and_coloured_by_the_verdict(judged: list[Judgement]) -> None:
    figure = hardware_figures.tiers(judged, {"high-end-24gb": "High-end GPU (24 GB VRAM)"})
    shares = {y: x for trace in figure.data for x, y in zip(trace.x, trace.y, strict=True)}
    assert shares == {place: pytest.approx(100 * (one.share or 0)) for place, one in enumerate(judged)}
    holds, partly, fails = figure.data
    assert (len(holds.x), len(partly.x), len(fails.x)) == (1, 2, 0)
    assert "IQ2_XXS" in partly.text[0]
    assert next(note.text for note in figure.layout.annotations) == "LLaMA-70B (quantized) <i>24 GB VRAM</i>"


def test_what_was_not_judged_has_no_bar(judged: list[Judgement]) -> None:
    silent = replace(judged[0], need=None)
    figure = hardware_figures.tiers([silent], {"high-end-24gb": "24"})
    assert not any(trace.x for trace in figure.data)
