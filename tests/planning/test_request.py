"""What one request should have taken."""

from __future__ import annotations

import pytest

from tests.conftest import fake_engine
from workbench.machine import Machine
from workbench.models import Model
from workbench.planning import of_request, plan
from workbench.planning.plans import Plan


@pytest.fixture
def real(embedded_model: Model, machine: Machine) -> Plan:
    return plan(embedded_model, machine=machine, context=2048, threads=1)


def test_the_usual_request_is_as_the_plan_says(real: Plan) -> None:
    usual = real.workload
    found = of_request(real, usual.prompt_tokens, usual.answer_tokens)
    assert (found["decode"], found["ttft"]) == (real.decode, real.ttft)


def test_a_longer_conversation_takes_longer(real: Plan) -> None:
    short, long = of_request(real, 50, 100), of_request(real, 1500, 100)
    assert long["ttft"].known() > short["ttft"].known()
    assert long["decode"].known() < short["decode"].known()


def test_what_the_server_still_has_is_not_read_again_and_is_still_attended_to(real: Plan) -> None:
    whole, cached = of_request(real, 1500, 100), of_request(real, 1500, 100, cached_tokens=1490)
    assert cached["ttft"].known() < whole["ttft"].known() / 50
    assert cached["decode"] == whole["decode"]


def test_a_prompt_that_was_cached_whole(real: Plan) -> None:
    assert of_request(real, 20, 1, cached_tokens=20)["ttft"].known() > 0


def test_engines_are_asked_for_what_was_asked(machine: Machine, little_model: Model) -> None:
    made = plan(little_model, machine=machine, engine=fake_engine(token_s=0.0095), context=512, threads=1)
    assert of_request(made, 10, 10)["decode"].value == pytest.approx(100)
