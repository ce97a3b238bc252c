"""How a dashboard looks: screenshots for people, and what a browser can say about a narrow page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ARTEFACTS = Path(__file__).parents[2] / "artefacts"
FIGURES = ".wb-figure .js-plotly-plot"
DRAWN = f"{FIGURES} .main-svg"  # Plotly draws anew a moment after its place has changed


def look(page: Any, name: str) -> None:
    """Screenshots on a light, a dark and a narrow page; nothing sticks out and no figure vanishes."""
    ARTEFACTS.mkdir(exist_ok=True)
    for scheme, path in (("dark", f"{name}_dark.png"), ("light", f"{name}.png")):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=ARTEFACTS / path, full_page=True)
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function(f"document.querySelector('{FIGURES}').offsetWidth < 390")
    page.wait_for_function(f"[...document.querySelectorAll('{DRAWN}')].every(one => one.clientWidth < 390)")
    page.screenshot(path=ARTEFACTS / f"{name}_narrow.png", full_page=True)
    heights = page.locator(FIGURES).evaluate_all("all => all.map(one => one.offsetHeight)")
    assert min(height for height in heights if height) > 100, "a figure vanished on a narrow page"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "the page is wider than the screen"
    page.set_viewport_size({"width": 1280, "height": 900})
