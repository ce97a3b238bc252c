"""All ways to run a model, ranked by a rule that is said, and what would make the refused ones fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.engines.fake import FakeEngine
from workbench.errors import UnsupportedModel, UsageError
from workbench.machine import Machine, describe
from workbench.planning import choices, plan
from workbench.planning.configuration import estimate
from workbench.planning.ranking import LOSSLESS_BITS, bits, longest_context, smallest_change


def test_what_is_fast_enough_comes_first_then_more_bits_then_speed() -> None:
    found = choices("llama-3.1-8b", machine=describe("RTX 3090"), engine="llama.cpp")
    ranks = [(one.decode.known() >= 10, min(bits(one.model), LOSSLESS_BITS), one.decode.known()) for one in found.plans]
    assert len(ranks) > 5
    assert ranks == sorted(ranks, reverse=True)
    assert found.best is found.plans[0]


def test_a_wish_for_speed_changes_the_order() -> None:
    machine = describe("RTX 3060")
    patient = choices("llama-3.1-8b", machine=machine, engine="llama.cpp", least_tok_per_s=1).best
    hasty = choices("llama-3.1-8b", machine=machine, engine="llama.cpp", least_tok_per_s=60).best
    assert hasty.decode.known() > patient.decode.known()
    assert bits(hasty.model) < bits(patient.model)


def test_every_refusal_has_a_reason_with_numbers_and_a_change(machine: Machine) -> None:
    found = choices("llama-2-70b", machine=describe("RTX 3060", host=machine))
    assert found.refused
    for refusal in found.refused:
        assert refusal.reason
        assert refusal.fix
    too_large = next(one for one in found.refused if one.format == "F16")
    assert "GiB" in too_large.reason
    assert "12 GiB are free" in too_large.reason


def test_the_longest_context_fits_and_a_longer_one_does_not(machine: Machine) -> None:
    wish = estimate("llama-3.1-8b", machine=describe("RTX 3060", host=machine), format="Q8_0", context=100_000,
                    devices=(0,))  # fmt: skip
    assert wish.verdict == "does not fit"
    longest = longest_context(wish)
    assert longest
    assert smallest_change(wish) == f"A context of {longest} tokens fits."
    again = {
        context: estimate("llama-3.1-8b", machine=wish.machine, format="Q8_0", context=context, devices=(0,)).verdict
        for context in (longest, longest + 256)
    }
    assert again[longest] in ("fits", "tight")
    assert again[longest + 256] == "does not fit"


def test_a_format_of_so_few_bits_would_fit(machine: Machine) -> None:
    wish = estimate("llama-2-70b", machine=describe("RTX 3090", host=machine), format="Q8_0", devices=(0,))
    assert "bits per weight would fit" in smallest_change(wish)


def test_where_nothing_fits_the_best_says_why(machine: Machine) -> None:
    found = choices("llama-3.1-405b", machine=describe("RTX 3060", host=machine))
    with pytest.raises(UnsupportedModel, match="Nothing fits"):
        _ = found.best


def test_a_wish_that_is_no_speed() -> None:
    with pytest.raises(UsageError, match="nan tok/s"):
        choices("llama-3.1-8b", machine=describe("RTX 3090"), least_tok_per_s=float("nan"))


def test_a_file_on_this_machine_is_still_planned(machine: Machine, fake_plan: object) -> None:
    model = fake_plan().model  # type: ignore[operator]
    found = choices(replace(model, architecture=model.architecture), machine=machine, engine="fake")
    assert [one.engine.name for one in found.plans] == ["fake"]
    assert plan(model, machine=machine, engine=FakeEngine(), threads=1).verdict == "fits"
