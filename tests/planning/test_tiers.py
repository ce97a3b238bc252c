"""The guide's tiers: as it wrote them, and judged by nothing but the planner."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench import catalog, planning
from workbench.errors import UsageError
from workbench.machine import Machine
from workbench.planning import tiers
from workbench.planning.tiers import FAILS, HOLDS, NOT_JUDGED, Judgement, Suggestion, TierMachine
from workbench.units import GIB


def judged(tier: str, says: str, host: Machine, place: int = 0) -> Judgement:
    one = tiers.tiers()[tier]
    suggestion = next(suggestion for suggestion in one.suggestions if suggestion.says == says)
    return tiers.judge(one, suggestion, one.machines[place], host)


def test_there_are_seven_and_each_names_machines_and_models_that_exist(machine: Machine) -> None:
    found = tiers.tiers()
    assert len(found) == 7
    for tier in found.values():
        assert tier.source.startswith("the guide")
        assert all(tiers.machine_of(described, machine) for described in tier.machines)
        names = [one.model for one, _ in tiers.suggestions(tier) if one.model]
        assert all(catalog.find_model(name) for name in names)
        assert tier.today


def test_a_seven_billion_model_holds_on_8_gib_in_four_bits(machine: Machine) -> None:
    found = judged("consumer-8gb", "LLaMA-7B (quantized)", machine)
    assert (found.verdict, found.machine) == (HOLDS, "GeForce RTX 4060")
    assert found.share is not None
    assert 0.5 < found.share < 1
    assert "6.74 billion weights in Q4_K_M" in found.sentence
    assert "to spare" in found.sentence


def test_seventy_billion_do_not_hold_on_24_gib_in_four_bits(machine: Machine) -> None:
    found = judged("high-end-24gb", "LLaMA-70B (quantized)", machine)
    assert found.verdict.startswith("holds only as ")
    assert found.plan is not None
    assert planning.ranking.bits(found.plan.model) < 4
    assert found.share is not None
    assert found.share > 1.5
    assert "too much" in found.sentence


def test_what_the_words_do_not_say_is_meant_as_published(machine: Machine) -> None:
    found = judged("professional-48gb", "LLaMA-70B", machine)
    assert found.verdict.startswith("holds only as ")
    assert found.need is not None
    assert found.need.value == pytest.approx(69e9 * 2, rel=0.03)


def test_nothing_fits_is_said(machine: Machine) -> None:
    found = judged("multi-gpu", "Any model with parallelization", machine)
    assert (found.verdict, found.plan, found.longest_context) == (FAILS, None, None)
    assert found.room_bytes == 48 * GIB
    assert "No format here fits" in found.sentence


def test_more_of_the_tier_holds_more(machine: Machine) -> None:
    assert judged("multi-gpu", "Any model with parallelization", machine, 2).verdict.startswith("holds")


def test_what_has_no_name_is_not_judged(machine: Machine) -> None:
    found = judged("cpu-only", "Vosk", machine)
    assert (found.verdict, found.share, found.speed) == (NOT_JUDGED, None, None)


def test_a_processor_is_as_fast_as_the_one_at_hand(machine: Machine) -> None:
    assert judged("cpu-only", "Quantized smaller models", machine).speed.value
    unmeasured = judged("cpu-only", "Quantized smaller models", replace(machine, calibration=None))
    assert unmeasured.verdict == HOLDS
    assert unmeasured.speed.value is None


def test_a_judgement_can_be_written_down(machine: Machine) -> None:
    written = judged("apple-silicon", "Various optimized models", machine).to_dict()
    assert written["plan"]["verdict"] == "fits"
    assert written["machine"] == "Apple M4 (10-core GPU), 16 GiB"


def test_the_longest_context_fits_and_the_next_step_does_not(machine: Machine) -> None:
    found = judged("high-end-24gb", "CodeLlama-13B", machine)
    assert found.plan is not None
    assert found.longest_context is not None
    fmt = found.plan.model.quantization
    again = planning.estimate("codellama-13b", machine=found.plan.machine, format=fmt, engine=found.plan.engine,
                              context=found.longest_context, devices=(0,))  # fmt: skip
    assert again.verdict != "does not fit"


def test_a_suggestion_is_a_model_or_a_reason() -> None:
    with pytest.raises(ValueError, match="a model and a format"):
        Suggestion("something")


def test_a_machine_nobody_knows_is_refused(machine: Machine) -> None:
    with pytest.raises(UsageError):
        tiers.machine_of(TierMachine("rtx-9999"), machine)
