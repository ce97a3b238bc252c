"""The model of chapter 1's panel, without widgets or a browser: looking, measuring, comparing, judging."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from workbench.errors import UnknownName, UsageError
from workbench.machine import Machine, describe
from workbench.planning import tiers
from workbench.ui import hardware_model
from workbench.ui.hardware_model import MOST_COMPARED, Hardware, Steps
from workbench.units import GIB


def judge(tier: Any, suggestion: Any, described: Any, host: Any, *, own: bool) -> tuple[str, str, str, bool]:
    return tier.name, suggestion.says, described.device, own


def panel(here: Machine, **steps: Any) -> Hardware:
    return Hardware(Steps(**{"machine": lambda: here, "judge": judge, **steps}))


def looked(state: Hardware) -> Hardware:
    state.look()
    assert state.join(10)
    return state


def test_looking_judges_every_suggestion_of_the_guide(machine: Machine) -> None:
    state = looked(panel(machine))
    assert (state.state, state.here, state.error) == ("ready", machine, None)
    expected = [(t.name, s.says) for t in tiers.tiers().values() for s in t.suggestions]
    assert [(tier, says) for tier, says, _, own in state.guide if not own] == expected
    assert state.findings is not None


def test_a_tier_is_judged_on_all_of_its_machines(machine: Machine) -> None:
    state = looked(panel(machine))
    state.tier = "professional-48gb"
    state.judge_tier()
    assert state.join(10)
    tier = tiers.tiers()["professional-48gb"]
    assert {device for _, _, device, _ in state.detail} == {one.device for one in tier.machines}
    assert len(state.detail) == len(tier.machines) * (len(tier.suggestions) + len(tier.today))
    assert {own for *_, own in state.detail} == {True, False}


def test_measuring_replaces_what_is_known(machine: Machine) -> None:
    unmeasured = replace(machine, calibration=None)
    state = looked(panel(unmeasured, calibrate=lambda progress: machine))
    assert state.spots() == []
    state.measure()
    assert state.join(10)
    assert [spot.name for spot in state.spots()] == ["this computer"]


def test_others_are_compared_each_once_and_not_too_many(machine: Machine) -> None:
    state = looked(panel(machine))
    for name in ("RTX 3090", "RTX 4090", "RTX 3090"):
        state.device = name
        state.compare()
    assert [name for name, _ in state.compared] == ["GeForce RTX 4090", "GeForce RTX 3090"]
    for count in range(1, 10):
        state.count = count
        state.compare()
    assert len(state.compared) == MOST_COMPARED
    state.forget()
    assert state.compared == ()


@pytest.mark.parametrize(("device", "error"), [("", UsageError), ("RTX 9999", UnknownName)])
def test_what_cannot_be_compared_is_said(machine: Machine, device: str, error: type[Exception]) -> None:
    state = panel(machine)
    state.device = device
    with pytest.raises(error):
        state.compare()
    assert state.compared == ()


def test_cancelling_the_judgement_keeps_the_former_one(machine: Machine) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slowly(*given: Any, own: bool) -> Any:
        began.set()
        go_on.wait(10)
        return judge(*given, own=own)

    state = panel(machine, judge=slowly)
    state.look()
    assert began.wait(10)
    state.cancel()
    go_on.set()
    assert state.join(10)
    assert (state.state, state.guide, state.error) == ("idle", (), None)


def test_several_cards_have_their_memory_together_and_the_bandwidth_of_one() -> None:
    spot = hardware_model.spot_of("two", describe("RTX 3090", count=2))
    assert spot is not None
    assert (spot.memory_bytes, spot.bytes_per_s) == (48 * GIB, pytest.approx(936e9, rel=0.01))
    assert hardware_model.name_of(describe("RTX 3090", count=2)) == "2 × GeForce RTX 3090"


def test_a_rented_hour_is_the_cheapest_first_and_dated_by_its_record() -> None:
    offers = hardware_model.rents(describe("A100 SXM4 80GB"))
    prices = [offer.on_demand_usd_per_hour / offer.count for offer in offers if offer.on_demand_usd_per_hour]
    assert len(prices) == len(offers) > 2
    assert prices == sorted(prices)


def test_every_accelerator_whose_memory_is_known_is_a_spot() -> None:
    spots = hardware_model.every_accelerator()
    assert len(spots) > 80
    assert all(spot.memory_bytes > 0 and spot.bytes_per_s > 0 for spot in spots)
