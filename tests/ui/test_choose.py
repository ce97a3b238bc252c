"""Chapter 2's panel: as widgets, and in a browser from the first ranking to a picture's plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.ui.looks import FIGURES, look
from workbench import planning
from workbench.machine import Machine, describe
from workbench.planning.plans import Refusal
from workbench.ui import choose
from workbench.ui.choose_model import Choose, Steps
from workbench.ui.dashboards import serve
from workbench.ui.start_here_model import StartHere


def view(machine: Machine, **choices: Any) -> choose.View:
    return choose.View(Choose(Steps(machine=lambda: machine, table=lambda *_, **__: []), **choices))


def ranked(shown: choose.View) -> choose.View:
    shown.state.rank()
    assert shown.state.join(60)
    return shown


def test_in_a_notebook_the_panel_waits_for_a_click(machine: Machine) -> None:
    shown = view(machine)
    assert shown.state.state == "idle"
    assert "wb-hidden" in shown._ranked_card._dom_classes


def test_the_ranking_is_shown(machine: Machine) -> None:
    shown = ranked(view(machine, device="RTX 3090", model="qwen2.5-7b"))
    best = shown.state.choices.best
    assert f"1. {best.engine.name} {best.model.quantization}" in shown._ranked.value
    assert shown._choice_figure.outputs[0]["data"]["application/vnd.plotly.v1+json"]["data"]
    assert shown._picked.value == 0
    assert "wb-hidden" not in shown._ranked_card._dom_classes


def test_another_plan_shows_its_own_memory(machine: Machine) -> None:
    shown = ranked(view(machine, device="RTX 3090", model="qwen2.5-7b"))
    before = shown._fit.value
    shown._picked.value = len(shown.state.choices.plans) - 1
    assert shown._fit.value != before
    assert shown.state.picked == shown._picked.value


def test_what_does_not_fit_is_shown_with_its_fix(machine: Machine) -> None:
    shown = ranked(view(machine, device="RTX 4060", model="llama-3.3-70b"))
    refused = shown.state.choices.refused
    assert refused
    assert refused[0].fix.split()[0] in shown._refused.value
    assert "wb-hidden" not in shown._refused_card._dom_classes


def test_an_unmeasured_processor_is_said(machine: Machine) -> None:
    shown = ranked(view(replace(machine, calibration=None), model="qwen2.5-0.5b-instruct"))
    assert "wb-hidden" not in shown._measure_box._dom_classes
    assert "unknown" in shown._ranked.value
    assert shown._choice_figure.outputs  # the memory at least


def test_an_image_model_has_no_context(machine: Machine) -> None:
    shown = view(machine, device="RTX 3090")
    shown._task.value = "imagine"
    assert shown._model.value == shown.state.model == "sdxl-base-1.0"
    assert "wb-hidden" in shown._context._dom_classes
    assert "wb-hidden" not in view(machine)._context._dom_classes


def test_names_of_strangers_are_text_and_never_markup(machine: Machine) -> None:
    found = planning.choices("qwen2.5-7b", machine=describe("RTX 3090"))
    evil = replace(found, model="<img src=x>", refused=(Refusal("<b>", "<i>", "<u>"),))
    for html in (choose._ranked(evil), choose._refused(evil)):
        assert not any(tag in html for tag in ("<img", "<b>", "<i>", "<u>"))


def test_panels_share_one_frame() -> None:
    assert {"state", "progress", "error"} <= set(Choose.class_traits()) & set(StartHere.class_traits())


@pytest.mark.browser
def test_from_the_first_ranking_to_pictures(open_page: Callable[..., Any]) -> None:
    with serve("02_choose_a_model", open_browser=False, block=False, announce=lambda _: None) as server:
        page = open_page()
        page.set_default_timeout(60_000)
        page.goto(server.url)
        page.get_by_text("The same model on every accelerator").wait_for()
        page.locator(FIGURES).nth(2).wait_for()
        look(page, "choose")
        page.get_by_label("Accelerator or cloud instance").fill("RTX 4060")
        page.get_by_label("Accelerator or cloud instance").press("Enter")
        page.get_by_label("Task").select_option("Make images")
        page.get_by_role("button", name="Rank").click()
        page.get_by_text("sdxl-base-1.0").first.wait_for()
        page.get_by_role("cell", name="GeForce RTX 4060").first.wait_for()
        page.get_by_label("Accelerator or cloud instance").fill("no such card")
        page.get_by_label("Accelerator or cloud instance").press("Enter")
        page.get_by_role("button", name="Rank").click()
        page.get_by_role("alert").get_by_text("no such card").first.wait_for()
        page.goto("about:blank")
