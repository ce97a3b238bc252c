"""Chapter 1's panel: as widgets, and in a browser from the first look to a judged tier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.ui.looks import FIGURES, look
from workbench.machine import Accelerator, Finding, Machine
from workbench.planning import tiers
from workbench.ui import hardware
from workbench.ui.dashboards import serve
from workbench.ui.hardware_model import Hardware, Steps


def view(machine: Machine) -> hardware.View:
    return hardware.View(Hardware(Steps(machine=lambda: machine)))


@pytest.fixture
def looked(machine: Machine) -> hardware.View:
    shown = view(machine)
    shown.state.look()
    assert shown.state.join(60)
    return shown


def test_the_map_is_there_before_anybody_looks(machine: Machine) -> None:
    shown = view(machine)
    assert shown._map.outputs
    assert "wb-hidden" in shown._tier_box._dom_classes
    assert "wb-hidden" not in shown._look._dom_classes


def test_after_looking_the_computer_and_the_tiers_are_shown(looked: hardware.View) -> None:
    assert "Test CPU" in looked._machine.value
    assert "40.0 GB/s" in looked._machine.value
    assert "LLaMA-70B (quantized)" in looked._tiers.value
    assert looked._tier_figure.outputs
    assert "wb-hidden" in looked._look._dom_classes
    assert "wb-hidden" in looked._unmeasured._dom_classes


def test_a_compared_machine_has_its_prices_with_dates(looked: hardware.View) -> None:
    looked.state.device = "RTX 4090"
    looked.state.compare()
    assert "$1,599.00 (2022" in looked._compared.value
    assert "/h, " in looked._compared.value
    assert "GeForce RTX 4090" in str(looked._map.outputs)


def test_the_arithmetic_of_a_tier(looked: hardware.View) -> None:
    looked.state.tier = "cpu-only"
    looked.state.judge_tier()
    assert looked.state.join(60)
    assert "Vosk" in looked._detail.value
    assert "not judged" in looked._detail.value
    assert "weights in Q4_K_M are" in looked._detail.value


def test_names_of_strangers_are_text_and_never_markup(machine: Machine) -> None:
    evil = replace(machine, accelerators=(Accelerator("<b>", "<img src=x>", 0),), notes=("<i>",), system="<u>")
    finding = Finding("problem", "<script>", "<a>")
    for html in (hardware.machine_facts(evil), hardware._findings([finding]), hardware._compared([("<img>", evil)])):
        assert not any(tag in html for tag in ("<b>", "<img", "<i>", "<u>", "<script>", "<a>"))


def test_every_tier_can_be_chosen(machine: Machine) -> None:
    shown = view(machine)
    assert [name for _, name in shown._tier.options] == list(tiers.tiers())
    shown._tier.value = "apple-silicon"
    assert shown.state.tier == "apple-silicon"


@pytest.mark.browser
def test_from_the_first_look_to_a_judged_tier(open_page: Callable[..., Any]) -> None:
    with serve("01_hardware", open_browser=False, block=False, announce=lambda _: None) as server:
        page = open_page()
        page.set_default_timeout(60_000)
        page.goto(server.url)
        page.get_by_text("The guide suggests").wait_for()
        page.locator(FIGURES).nth(1).wait_for()
        page.get_by_role("button", name="Measure").click()
        page.get_by_text("has not been measured").wait_for(state="hidden")
        page.get_by_label("Accelerator or cloud instance").fill("AWS g5.12xlarge")
        page.get_by_label("Accelerator or cloud instance").press("Enter")
        page.get_by_role("button", name="Compare").click()
        page.get_by_role("rowheader", name="4 × A10G").wait_for()
        page.get_by_role("button", name="Judge this tier").click()
        page.get_by_text("The arithmetic").wait_for()
        look(page, "hardware")
        assert page.get_by_role("alert").count() == 0
        page.goto("about:blank")
