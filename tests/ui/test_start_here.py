"""The panel itself: as widgets, and in a browser with the real engine from the first prediction to Stop."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from workbench.evidence import Basis, Estimate, Measured
from workbench.ui import front_end, start_here
from workbench.ui.dashboards import serve

ARTEFACTS = Path(__file__).parents[2] / "artefacts"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"VOILA_BASE_URL": "/"}, True),
        ({"VOILA_PREHEAT": "True"}, True),
        ({"SERVER_SOFTWARE": "voila/0.5.13"}, True),
        ({"SERVER_SOFTWARE": "other"}, False),
    ],
)
def test_a_dashboard_is_recognised(environment: dict[str, str], expected: bool) -> None:
    assert front_end.is_dashboard(environment) is expected


def test_colab_runs_jobs_in_the_foreground() -> None:
    assert not front_end.shows_updates_from_threads({"COLAB_RELEASE_TAG": "release"})
    assert front_end.shows_updates_from_threads({})


def test_in_a_notebook_the_panel_waits_for_a_click() -> None:
    root = start_here.panel()
    text = texts(root)
    assert "This computer" in text
    assert "AMD" not in text


def view(**choices: Any) -> start_here.View:
    usual = {"model": "smollm2-135m-instruct", "question": "Why?", "context": 2048, "repeats": 1}
    return start_here.View(start_here.StartHere(**usual | choices))


def test_an_empty_question_cannot_be_asked() -> None:
    shown = view()
    assert not shown._ask.disabled
    shown._question.value = "  "
    assert shown._ask.disabled


def test_the_default_context_is_on_the_grid_of_its_field() -> None:
    field = view()._context
    assert (field.value - field.min) % field.step == 0
    assert field.min == 128


def test_measuring_without_asking_does_not_tick_ask() -> None:
    state = view().state
    state.deployment = object()
    state.state = "measuring"
    assert start_here._steps(state).count("✓") == 2


def test_what_a_model_writes_is_text_and_never_markup() -> None:
    shown = start_here._answer(start_here.Answer(("<img src=x onerror=alert(1)>",), 0.1, 0.1), streaming=True)
    assert "<img" not in shown
    assert "&lt;img" in shown


def test_the_measured_speed_stands_beside_what_memory_allows() -> None:
    predicted = Estimate.within(60, "tok/s", Basis("made up"), 0.1, 0.1)
    measured = SimpleNamespace(
        predictions={"decode": predicted}, values={"decode": Measured((70.0,), "tok/s", "tokens ÷ time")},
        decode_bound=Estimate.within(280, "tok/s", Basis("made up"), 0, 0),
    )  # fmt: skip
    assert "25% of the bound, 280 tok/s" in start_here._measurements(measured)
    measured.decode_bound = Estimate.unknown("tok/s", "not calibrated")
    assert "allows" not in start_here._measurements(measured)


def test_the_expected_speed_stands_beside_what_memory_allows(fake_plan: Callable[..., Any]) -> None:
    made = fake_plan()
    assert "Most that memory allows" in start_here._expectations(made)
    unknown = replace(made, machine=replace(made.machine, calibration=None))
    assert "allows" not in start_here._expectations(unknown)


def texts(widget: Any) -> str:
    own = getattr(widget, "value", "")
    return " ".join([str(own), *(texts(child) for child in getattr(widget, "children", ()))])


@pytest.mark.browser
@pytest.mark.engine
def test_from_the_prediction_to_stop(open_page: Callable[..., Any], home_with_model: Path) -> None:
    with serve("00_start_here", open_browser=False, block=False, announce=lambda _: None) as server:
        page = open_page()
        page.set_default_timeout(60_000)
        page.goto(server.url)
        page.get_by_text("What to expect").wait_for()
        page.get_by_label("Context in tokens").fill("512")
        page.get_by_label("Context in tokens").press("Enter")
        page.get_by_role("button", name="Predict").click()
        page.get_by_text("a context of 512 tokens").wait_for()
        page.get_by_role("button", name="Deploy").click()
        page.get_by_label("Your question").fill("What is <b>water</b>?")
        page.get_by_role("button", name="Ask").click()
        page.locator(".wb-answer[aria-busy=true]").wait_for()  # seen while it grows
        page.locator(".wb-answer[aria-busy=false]").wait_for()
        assert re.search(r"\d+ tokens/s", page.locator(".wb-answer-numbers").inner_text())
        page.get_by_role("button", name="Measure").click()
        page.get_by_text("What a million tokens cost").wait_for()
        page.locator(".wb-figure .js-plotly-plot").nth(2).wait_for()
        screenshots(page)
        page.set_viewport_size({"width": 390, "height": 800})
        page.wait_for_function("document.querySelector('.wb-figure .js-plotly-plot').offsetWidth < 390")
        heights = page.locator(".wb-figure .js-plotly-plot").evaluate_all("all => all.map(one => one.offsetHeight)")
        assert min(heights) > 100, "a figure vanished on a narrow page"
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("button", name="Deploy").wait_for()
        assert page.get_by_role("alert").count() == 0
        page.goto("about:blank")
        tree = psutil.Process(server.process.pid).children(recursive=True)
    _, there = psutil.wait_procs(tree, timeout=2)
    assert not [one for one in there if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]  # init reaps late
    assert not strays(home_with_model)


def screenshots(page: Any) -> None:
    ARTEFACTS.mkdir(exist_ok=True)
    for scheme, name in (("dark", "start_here_dark.png"), ("light", "start_here.png")):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=ARTEFACTS / name, full_page=True)
    page.locator(".wb-card", has=page.get_by_role("heading", name="Measure it")).screenshot(
        path=ARTEFACTS / "measured.png"
    )


def strays(home: Path) -> list[str]:
    """Servers and watchdogs of this test that are still there."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("WORKBENCH_HOME") == str(home) and process.pid != os.getpid():
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found
