"""What one request should have taken, and the bound that memory sets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conftest import fake_engine
from workbench import models
from workbench.machine import Machine, describe
from workbench.models import Model
from workbench.planning import decode_bound, estimate, of_request, plan
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


def test_the_bound_is_bandwidth_over_weights(real: Plan) -> None:
    bound = decode_bound(real.model, real.settings, real.machine)
    assert bound.value == pytest.approx(40e9 / real.model.decode_read_bytes)
    assert real.decode.known() < bound.known()
    assert "measured here" in bound.basis.source


def test_of_an_unmeasured_computer_nobody_knows(real: Plan) -> None:
    bound = decode_bound(real.model, real.settings, replace(real.machine, calibration=None))
    assert bound.value is None
    assert "--calibrate" in bound.reason


@pytest.mark.parametrize(("count", "tensor_parallel", "times"), [(1, False, 1), (2, False, 1), (2, True, 2)])
def test_the_bound_of_accelerators(machine: Machine, count: int, tensor_parallel: bool, times: int) -> None:
    cards = describe("RTX 3090", count=count, host=machine)
    made = estimate("llama-3.1-8b", machine=cards, engine="llama.cpp", format="Q4_K_M", context=2048)
    settings = replace(made.settings, devices=tuple(range(count)), device_layers=None, tensor_parallel=tensor_parallel)
    bound = decode_bound(made.model, settings, cards)
    assert bound.value == pytest.approx(times * 936e9 / made.model.decode_read_bytes, rel=0.01)


def test_layers_in_two_kinds_of_memory_have_no_single_bound(machine: Machine) -> None:
    cards = describe("RTX 3090", host=machine)
    made = estimate("llama-3.1-8b", machine=cards, engine="llama.cpp", format="Q4_K_M", context=2048)
    assert decode_bound(made.model, replace(made.settings, devices=(0,), device_layers=8), cards).value is None


def test_more_bits_a_lower_bound(machine: Machine) -> None:
    made = plan_on_paper(machine)

    wide = models.in_format(models.describe("llama-3.1-8b"), "Q8_0")
    assert decode_bound(wide, made.settings, machine).known() < decode_bound(made.model, made.settings, machine).known()


def plan_on_paper(machine: Machine) -> Plan:
    return estimate("llama-3.1-8b", machine=machine, engine="llama.cpp", format="Q4_K_M", context=2048)


def test_engines_are_asked_for_what_was_asked(machine: Machine, little_model: Model) -> None:
    made = plan(little_model, machine=machine, engine=fake_engine(token_s=0.0095), context=512, threads=1)
    assert of_request(made, 10, 10)["decode"].value == pytest.approx(100)
