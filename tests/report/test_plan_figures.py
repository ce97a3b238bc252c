"""The figures of plans draw what the planner says, and leave out what nobody knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from workbench import planning
from workbench.machine import Machine, describe
from workbench.planning import table
from workbench.report import plan_figures
from workbench.units import GIB


@pytest.fixture
def found(machine: Machine) -> Any:
    return planning.choices("qwen2.5-7b", machine=describe("RTX 3090", host=machine))


def test_every_plan_with_a_known_speed_is_a_point(found: Any) -> None:
    figure = plan_figures.choices(found.plans)
    *traces, ring, allowed = figure.data
    points = {(x, y) for trace in traces for x, y in zip(trace.x, trace.y, strict=True)}
    known = [plan for plan in found.plans if plan.decode.value]
    assert points == {(plan.memory[0].total.value / GIB, plan.decode.value) for plan in known}
    assert (ring.x[0], ring.y[0]) == (found.best.memory[0].total.value / GIB, found.best.decode.value)
    assert (allowed.x[0], allowed.y[0]) == (ring.x[0], found.best.decode_bound.value)
    hovers = [text for trace in traces for text in trace.customdata]
    assert any(f"<br>memory allows {found.best.decode_bound}<br>" in text for text in hovers)


def test_the_interval_is_the_prediction_s(found: Any) -> None:
    trace = plan_figures.choices(found.plans[:1]).data[0]
    decode = found.best.decode
    assert trace.y[0] + trace.error_y.array[0] == pytest.approx(decode.high)
    assert trace.y[0] - trace.error_y.arrayminus[0] == pytest.approx(decode.low)


@pytest.mark.parametrize(("model", "scale"), [("sdxl-base-1.0", 60), ("whisper-small", 1)])
def test_higher_is_better_for_every_kind_of_model(model: str, scale: float) -> None:
    plan = planning.choices(model, machine=describe("RTX 3090")).best
    name = plan_figures.quantity(plan.speed)
    value, low, high = plan_figures.rate(plan.speed) or (0, 0, 0)
    assert value == pytest.approx(scale / plan.speed[name].value)
    assert low < value < high


def test_without_speeds_the_memory_is_left(machine: Machine) -> None:
    plans = planning.choices("qwen2.5-7b", machine=replace(machine, calibration=None)).plans
    assert plan_figures.rate(plans[0].speed) is None
    assert not [trace for trace in plan_figures.choices(plans).data if trace.x]
    bars, rooms = plan_figures.needs(plans[:3]).data
    assert list(bars.x) == [plan.memory[0].total.value / GIB for plan in plans[:3]]
    assert set(rooms.x) == {machine.memory.available_bytes / GIB}


def test_the_parts_of_every_device_sum_to_its_need(found: Any) -> None:
    plan = found.best
    *parts, rooms = plan_figures.memory_by_device(plan.memory, plan.fits).data
    for place, one in enumerate(plan.memory):
        assert sum(trace.x[place] for trace in parts) == pytest.approx(one.total.value / GIB)
    assert list(rooms.x) == [fit.free_bytes / GIB for fit in plan.fits if fit.free_bytes]


def test_one_point_per_accelerator() -> None:
    rows = table.best(table.table("qwen2.5-7b", ["RTX 4090", "RTX 4060", "GTX 1050"], ["Q8_0", "Q4_0"]))
    figure = plan_figures.every_accelerator(rows, {"RTX 4090": "<b>"})
    assert sum(len(trace.x) for trace in figure.data) == len(rows) == 2
    assert "&lt;b&gt;" in "".join(text for trace in figure.data for text in trace.customdata)
