"""A browser for the dashboards that fails the test on anything a visitor would not see but suffer from."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.engines.apps.conftest import serve  # noqa: F401 - a fixture

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",  # a microphone that beeps
]  # fmt: skip
PASSED: pytest.StashKey[bool] = pytest.StashKey()
# Plotly's own extension and Voilà disagree on one method; the figure is drawn nevertheless.
HARMLESS = ("r.setData is not a function",)


@pytest.fixture
def home_with_model(home: Path, embedded_model_path: Path) -> Path:
    """A home of this test that already has the embedded model and the calibration of this computer."""
    cache, folder = embedded_model_path.parents[2], embedded_model_path.parent
    shutil.copytree(folder, home / "cache" / folder.relative_to(cache))
    if (cache / "calibration.json").exists():
        shutil.copy(cache / "calibration.json", home / "cache")
    return home


@pytest.fixture
def home_with_speech(home: Path, speech_model_path: Path, clips: list[Path]) -> Path:
    """A home of this test in which the embedded speech model, what engines make of it, and the clips are at hand."""
    cache = clips[0].parents[3]
    (home / "cache").mkdir(parents=True)
    for name in ("assets", "converted", "verified"):
        if (cache / name).exists():
            (home / "cache" / name).symlink_to(cache / name)
    if (cache / "calibration.json").exists():
        shutil.copy(cache / "calibration.json", home / "cache")
    return home


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Chromium of the system, headless."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium on PATH: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember how a test ended, for the fixtures that end after it."""
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def open_page(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make pages (`open_page(color_scheme="dark")`) that may speak to this computer only and must not complain.

    A test that fails prints what its pages showed.
    """
    complaints: list[str] = []
    contexts: list[Any] = []

    def make(expected: tuple[str, ...] = (), **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        _listen(page, complaints, HARMLESS + expected)
        return page

    yield make
    passed = request.node.stash.get(PASSED, False)
    for context in contexts:
        if not passed:
            print(*(page.inner_text("body") for page in context.pages), *complaints, sep="\n")  # noqa: T201
        context.close()
    assert not complaints or not passed, complaints


def _listen(page: Any, complaints: list[str], harmless: tuple[str, ...]) -> None:
    def complain(what: str) -> None:
        if not any(known in what for known in harmless):
            complaints.append(what)

    def on_request(request: Any) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.hostname != "127.0.0.1":
            complain(f"request to another computer: {request.url}")

    def on_console(message: Any) -> None:
        if message.type == "error":
            complain(f"console: {message.text}")

    page.on("request", on_request)
    page.on("console", on_console)
    page.on("pageerror", lambda error: complain(f"page error: {error}"))
