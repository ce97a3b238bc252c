"""Chapter 5's panel: as widgets, and in a browser with the embedded model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.ui.looks import FIGURES, look
from workbench.deployment.pictures import Imagined, Made
from workbench.engines import Availability
from workbench.evidence import Estimate
from workbench.measurement.images import Drawn
from workbench.ui import images
from workbench.ui.dashboards import serve
from workbench.ui.images_model import ImagesModel, Shown, Steps


def drawn(*steps_s: float) -> Drawn:
    unknown = {name: Estimate.unknown("s", "?") for name in ("step", "image", "memory_peak")}
    plan: Any = SimpleNamespace(
        engine=SimpleNamespace(title="Brush"), model=SimpleNamespace(quantization="FP32"), predictions=unknown
    )
    return Drawn(plan, Imagined((Made(b"png", 3),), 2.0, steps_s), 10**8)


def test_a_prompt_is_text_and_never_markup() -> None:
    html = images.gallery([Shown(b"png", 3), Shown(b"png")], '"><script>')
    assert "<script>" not in html and "seed 3" in html and "on its way" in html
    assert html.count("download=") == 1  # of the finished one alone


def test_numbers_beside_predictions() -> None:
    html = images.table(drawn(0.5, 1.0, 1.5))
    assert "500 ms" in html and "30" in html and "unknown" in html
    assert "only one" in images.table(drawn(0.5))


def test_without_the_engine_the_page_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Availability(False, "The package diffusers is not installed.", "Install it: pip install diffusers")
    monkeypatch.setattr("workbench.engines.diffusers.Diffusers.available", lambda self, machine=None: missing)
    assert "pip install diffusers" in images.View(ImagesModel(Steps()))._refused.value


def test_settings_reach_the_state() -> None:
    shown = images.View(ImagesModel(Steps(), prompt="a cat"))
    for name, value in {"seed": 5, "images": 2, "steps": 7, "guidance": 2.5, "width": 32, "scheduler": "euler"}.items():
        shown._settings[name].value = value
        assert getattr(shown.state, name) == value
    assert shown.state.prompt == "a cat"


@pytest.mark.browser
@pytest.mark.engine
def test_pictures_appear_step_by_step(open_page: Callable[..., Any]) -> None:
    with serve("05_image_model", open_browser=False, block=False, announce=lambda _: None) as server:
        page = open_page()
        page.set_default_timeout(120_000)
        page.goto(server.url)
        page.get_by_label("What is to be seen", exact=True).fill("a red apple")
        page.get_by_label("Steps").fill("20")
        page.get_by_role("button", name="Make pictures").click()
        page.get_by_text("on its way").first.wait_for()
        page.get_by_text("seed 4").wait_for()
        page.locator(FIGURES).first.wait_for()
        assert page.get_by_alt_text("a red apple").count() == 4
        look(page, "images")
        with page.expect_download() as waiting:
            page.get_by_role("link", name="save").first.click()
        assert Path(waiting.value.path()).read_bytes().startswith(b"\x89PNG")
        page.get_by_label("Steps").fill("10000")
        page.get_by_role("button", name="Make pictures").click()
        page.get_by_role("alert").get_by_text("10000 steps").first.wait_for()
        page.get_by_label("Steps").fill("1000")
        page.get_by_role("button", name="Make pictures").click()
        page.get_by_text("on its way").first.wait_for()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Make pictures").and_(page.locator(":enabled")).wait_for()
        page.goto("about:blank")
