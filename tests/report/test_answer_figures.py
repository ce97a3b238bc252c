"""Figures of answers: predictions alone before the answer, and beside it afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import fake_engine
from workbench.machine import Machine
from workbench.measurement import Answer, Compared
from workbench.models import Model
from workbench.planning import Plan, plan
from workbench.report import answer_figures

DRAWS = (answer_figures.decode, answer_figures.ttft, answer_figures.memory)
ANSWERED = Answer(("It ", "is."), ttft_s=0.25, decode_s=0.1, finish_reason="stop", tokens=3, prompt_tokens=20)


@pytest.fixture
def made(machine: Machine, little_model: Model) -> Plan:
    return plan(little_model, machine=machine, engine=fake_engine(), context=512, threads=1)


def traces(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


@pytest.mark.parametrize("draw", DRAWS)
def test_before_an_answer_there_is_only_the_prediction(draw: Any, made: Plan) -> None:
    found = traces(draw([Compared(made)]))
    assert {"predicted interval (90 %)", "predicted"} <= set(found)
    assert "measured" not in found


@pytest.mark.parametrize(("draw", "value"), list(zip(DRAWS, (20.0, 250.0, 3.0), strict=True)))
def test_what_was_measured_is_drawn_in_the_unit_of_the_axis(draw: Any, value: float, made: Plan) -> None:
    found = traces(draw([Compared(made, ANSWERED, 3 * 2**20)]))
    assert found["measured"].x == pytest.approx((value,))


def test_the_bound_is_drawn_for_decode_alone(made: Plan) -> None:
    name = "bound by memory bandwidth"
    found = [traces(draw([Compared(made, ANSWERED, 1)])) for draw in DRAWS]
    assert [name in one for one in found] == [True, False, False]
    assert found[0][name].x == pytest.approx((Compared(made).bound.known(),))
    assert found[0][name].customdata[0].startswith(f"{20 / Compared(made).bound.known():.0%} of the bound")


def test_an_unmeasured_computer_has_no_bound(made: Plan) -> None:
    unknown = replace(made, machine=replace(made.machine, calibration=None))
    assert "bound by memory bandwidth" not in traces(answer_figures.decode([Compared(unknown, ANSWERED, 1)]))


def test_every_engine_has_its_line_also_when_nothing_is_known_of_it(made: Plan) -> None:
    unknown = {name: replace(e, value=None, low=None, high=None, reason="?") for name, e in made.speed.items()}
    other = replace(made, speed=unknown, model=replace(made.model, quantization="<b>Q8"))
    figure = answer_figures.decode([Compared(made, ANSWERED, 1), Compared(other)])
    assert len(figure.layout.yaxis.tickvals) == 2
    assert figure.layout.yaxis.ticktext[1].endswith("&lt;b&gt;Q8: <b>unknown</b>")
