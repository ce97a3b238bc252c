"""Chapter 4's panel: as widgets, and in a browser with the real engine from a completion to a verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.report.test_code_figures import evaluated
from tests.ui.looks import FIGURES, look
from tests.ui.test_code_model import BIG, TINY, World, run
from workbench.measurement.code import protections
from workbench.models.infill import FAMILIES
from workbench.ui import code
from workbench.ui.code_model import CodeModel, Target
from workbench.ui.dashboards import serve


def view(world: World | None = None, **choices: Any) -> code.View:
    shown = code.View(CodeModel((world or World()).steps(), **{"chosen": [TINY], **choices}))
    run(shown.state, "look")
    return shown


def test_evaluating_waits_for_the_permission() -> None:
    shown = view()
    assert shown._evaluate.disabled
    shown._allowed.value = True
    assert not shown._evaluate.disabled
    assert shown.state.allowed


def test_the_suffix_is_there_when_it_means_something() -> None:
    shown = view()
    assert "wb-hidden" in shown._suffix._dom_classes
    assert code.GAP_UNKNOWN in shown._gap.value
    run(shown.state, "complete")
    assert "wb-hidden" in shown._suffix._dom_classes
    assert "no tokens for filling a gap" in shown._gap.value
    able = view(World(infill=FAMILIES[0]))
    run(able.state, "complete")
    assert "wb-hidden" not in able._suffix._dom_classes
    assert "&lt;|fim_prefix|&gt;" in able._gap.value


def test_several_models_are_compared() -> None:
    shown = view(chosen=[TINY, BIG], allowed=True, problems=2)
    run(shown.state, "evaluate")
    assert shown._figure.outputs[0]["data"]["application/vnd.plotly.v1+json"]["data"]
    assert "tiny on fake" in shown._table.value
    assert "big on fake" in shown._table.value
    assert shown._table.value.count("✓ passed") == 4


def test_a_model_that_is_named_joins_the_list() -> None:
    shown = view()
    shown._named.value = " /models/mine.gguf "
    assert shown.state.chosen == [TINY, Target("/models/mine.gguf")]
    assert shown._chosen.value == (TINY, Target("/models/mine.gguf"))
    assert shown._named.value == ""
    shown._named.value = "/models/mine.gguf"
    assert len(shown._chosen.options) == 3


def test_what_a_model_writes_is_text_and_never_markup() -> None:
    evil = evaluated(False, model="<img src=x>")
    for html in (
        code._completion("<b>", "</pre><script>alert(1)</script>", "<i>", writes=True),
        code._table([evil]),
        code._answers(evil),
        code.guards(SimpleNamespace(covered=("<u>: x",), not_covered=())),
    ):
        assert not any(tag in html for tag in ("<img", "<b>", "<i>", "<u>", "<script"))


def test_the_embedded_model_s_weakness_is_said_with_its_number() -> None:
    assert "weak at code: asked in the chat it solved 3 of 40 problems" in code.embedded()


def test_what_is_not_covered_is_said_beside_what_is() -> None:
    html = code.guards(protections())
    assert html.count("<td>yes</td>") == len(protections().covered)
    assert html.count("<td>no</td>") == len(protections().not_covered)


@pytest.mark.browser
@pytest.mark.engine
@pytest.mark.usefixtures("home_with_model")
def test_from_a_completion_to_a_verdict(open_page: Callable[..., Any], home: Path) -> None:
    with serve("04_code_model", open_browser=False, block=False, announce=lambda _: None) as server:
        page = open_page()
        page.set_default_timeout(120_000)
        page.goto(server.url)
        page.get_by_role("cell", name="those of the kernel").wait_for()
        page.get_by_label("Code before").fill("def f(x):\n    # <b>the square</b> of x\n    return")
        page.get_by_role("button", name="Complete").click()
        page.locator(".wb-listing[aria-busy=false] mark").wait_for()
        assert "<b>the square</b>" in page.locator(".wb-listing").first.inner_text()
        page.get_by_text("no tokens for filling a gap").wait_for()
        assert page.get_by_role("button", name="Evaluate").is_disabled()
        page.get_by_label("Run what the model writes").check()
        page.get_by_label("Problems").fill("2")
        page.get_by_label("Problems").press("Enter")
        page.get_by_label("How").select_option("Let the text go on")
        page.get_by_role("button", name="Evaluate").click()
        page.locator(FIGURES).first.wait_for()
        page.get_by_role("rowheader", name="rectangle-border").wait_for()
        look(page, "code")
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("button", name="Stop").wait_for(state="hidden")
        assert page.get_by_role("alert").count() == 0
        page.goto("about:blank")
    assert len(list((home / "data" / "evaluations").iterdir())) == 1
