"""The bound that memory sets to decode, and how a speed is said to stand beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench import models
from workbench.engines.apps.engine import Listed
from workbench.evidence import Estimate
from workbench.machine import Machine, describe
from workbench.models import Model, SpeechModel
from workbench.planning import beside_bound, decode_bound, estimate, plan, share_in_words
from workbench.planning.plans import Plan


@pytest.fixture
def real(embedded_model: Model, machine: Machine) -> Plan:
    return plan(embedded_model, machine=machine, context=2048, threads=1)


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


def test_the_bound_rests_on_the_fastest_read_and_has_no_interval(real: Plan) -> None:
    """No engine reads faster than what was seen; the median says what is usual, and predictions rest on it."""
    assert real.machine.calibration
    usual = real.machine.calibration.read_bandwidth
    wide = replace(real.machine.calibration, read_bandwidth=replace(usual, samples=(20e9, 40e9, 50e9)))
    faster = replace(real.machine, calibration=wide)
    bound = decode_bound(real.model, real.settings, faster)
    assert bound.value == bound.low == bound.high == pytest.approx(50e9 / real.model.decode_read_bytes)
    assert "50 GB/s, where 40 GB/s are usual" in bound.basis.inputs.values()
    assert " to " not in str(bound)
    again = plan(real.model, machine=faster, context=2048, threads=1)
    assert again.decode == real.decode


def test_one_core_may_have_read_fastest(real: Plan) -> None:
    assert real.machine.calibration
    one = replace(real.machine.calibration.read_bandwidth_one_core, samples=(60e9,))
    odd = replace(real.machine, calibration=replace(real.machine.calibration, read_bandwidth_one_core=one))
    assert decode_bound(real.model, real.settings, odd).known() > real.decode_bound.known()


def test_what_disturbed_the_calibration_is_said_of_the_bound(real: Plan) -> None:
    assert real.machine.calibration
    noisy = replace(real.machine, calibration=replace(real.machine.calibration, notes=("Others used 0.6 cores.",)))
    assert decode_bound(real.model, real.settings, noisy).basis.inputs["note"] == "Others used 0.6 cores."
    assert "note" not in real.decode_bound.basis.inputs


def test_of_what_an_app_only_lists_nobody_knows(real: Plan) -> None:
    bound = decode_bound(Listed("some", "LM Studio does not say what it is"), real.settings, real.machine)
    assert (bound.value, bound.reason) == (None, "LM Studio does not say what it is")


def test_a_model_that_writes_no_text_has_no_bound(real: Plan) -> None:
    heard = models.describe("whisper-small")
    assert isinstance(heard, SpeechModel)
    assert decode_bound(heard, real.settings, real.machine).value is None


def test_it_survives_the_plan_as_data(real: Plan) -> None:
    assert Estimate.from_dict(real.to_dict()["decode_bound"]) == real.decode_bound


def test_a_speed_beside_its_bound(real: Plan) -> None:
    bound = real.decode_bound
    value = bound.known()
    assert share_in_words(value / 4, bound) == "25% of the bound"
    assert beside_bound(value / 4, bound) == f"25% of the bound, {bound}"
    assert beside_bound(value, bound).startswith("100% of the bound")


def test_a_speed_above_it_says_that_the_bound_does_not_hold(real: Plan, machine: Machine) -> None:
    bound = real.decode_bound
    value = bound.known()
    assert share_in_words(1.14 * value, bound) == "above an unreliable bound"
    assert beside_bound(1.14 * value, bound) == (
        f"above an unreliable bound, {bound}: the calibration was too slow"
    )  # fmt: skip
    cards = describe("RTX 3090", host=machine)
    stated = estimate("llama-3.1-8b", machine=cards, engine="llama.cpp", format="Q4_K_M", context=2048).decode_bound
    assert beside_bound(2 * stated.known(), stated).endswith(": the stated bandwidth is too low")


def test_where_nobody_knows_the_bound_nothing_is_said() -> None:
    assert beside_bound(10, Estimate.unknown("tok/s", "not calibrated")) == ""
