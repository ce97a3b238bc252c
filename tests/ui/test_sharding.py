"""Chapter 8's panel: as widgets, and in a browser with accelerate itself."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from tests.report.test_sharding_figures import FITS, NOWHERE, TOO_BIG
from tests.ui.looks import FIGURES, look
from workbench.evidence import Estimate
from workbench.machine import Machine, describe
from workbench.planning.layouts import Layout
from workbench.ui import sharding
from workbench.ui.dashboards import serve
from workbench.ui.sharding_model import Comparison, Sharding, Steps


def shown(machine: Machine, *layouts: Layout) -> sharding.View:
    found = Comparison("<i>model", describe("RTX 3090"), layouts)
    view = sharding.View(Sharding(Steps(machine=lambda: machine, lay_out=lambda *_, **__: found)))
    view.state.compare()
    assert view.state.join(10)
    return view


def test_in_a_notebook_the_panel_waits_for_a_click(machine: Machine) -> None:
    view = sharding.View(Sharding())
    assert view.state.state == "idle"
    assert "wb-hidden" in view._layout_card._dom_classes


def test_every_layout_is_shown_or_says_why_not(machine: Machine) -> None:
    view = shown(machine, FITS, TOO_BIG, NOWHERE)
    assert view._layout_figure.outputs
    assert view._time_figure.outputs
    assert "2 (1–4) s" in view._times.value
    assert "cannot run: too big" in view._times.value
    assert "cannot run: no device" in view._times.value
    assert "does not fit" in view._devices.value


def test_an_unknown_time_has_no_figure_but_a_reason(machine: Machine) -> None:
    unknown = Layout("a", "A", True, "", FITS.devices, Estimate.unknown("s", "not calibrated"))
    view = shown(machine, unknown)
    assert "unknown: not calibrated" in view._times.value
    assert "wb-hidden" in view._time_figure._dom_classes


def test_names_of_strangers_are_text_and_never_markup(machine: Machine) -> None:
    view = shown(machine, FITS)
    assert "<b>Card" not in view._devices.value
    assert "<i>" not in view._times.value


def test_the_controls_are_the_state_s(machine: Machine) -> None:
    view = sharding.View(Sharding(weight_format="FP32", gguf_format="Q5_0"))
    view._fields["link"].value = "nvlink-bridge-3090"
    view._fields["weight_format"].value = "NF4-DQ"
    assert (view.state.link, view.state.weight_format, view.state.gguf_format) == (
        "nvlink-bridge-3090",
        "NF4-DQ",
        "Q5_0",
    )


@pytest.mark.browser
@pytest.mark.skipif(not all(map(find_spec, ("accelerate", "torch", "transformers"))), reason="needs the extra engines")
def test_the_guide_s_example_laid_out(open_page: Callable[..., Any]) -> None:
    with serve("08_sharding_and_attention", open_browser=False, block=False, announce=lambda _: None) as server:
        page = open_page()
        page.set_default_timeout(60_000)
        page.goto(server.url)
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Cancel").wait_for(state="hidden")
        page.get_by_label("Main memory, GiB").fill("120")  # the disk of this computer then plays no part
        page.get_by_label("Main memory, GiB").press("Enter")
        page.get_by_role("button", name="Lay out").click()
        page.get_by_text("How long a token takes").wait_for()
        page.locator(FIGURES).nth(1).wait_for()
        page.get_by_text("are copied to GPU 0").wait_for()
        look(page, "sharding")
        assert page.get_by_role("alert").count() == 0
        page.goto("about:blank")
