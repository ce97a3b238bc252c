"""Chapter 6's panel: as widgets, and in a browser with three real engines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.ui.looks import FIGURES, look
from workbench.deployment.server.sound import decoded
from workbench.deployment.transcripts import Transcript
from workbench.engines import Availability
from workbench.engines.runtime import Segment
from workbench.evidence import Estimate
from workbench.measurement.listening import Listened
from workbench.measurement.quality.speech import word_errors
from workbench.ui import speech
from workbench.ui.dashboards import serve
from workbench.ui.speech_model import SpeechModel, Steps


def listened(said: str, wanted: str = "") -> Listened:
    unknown = {"window": Estimate.unknown("s", "?"), "memory_peak": Estimate.unknown("B", "?")}
    plan: Any = SimpleNamespace(
        engine=SimpleNamespace(title="Ears"), model=SimpleNamespace(quantization="FP16"), predictions=unknown
    )
    transcript = Transcript(said, (Segment(0.0, 2.0, said),), 2.0, "en")
    return Listened(plan, transcript, 0.5, 10**8, word_errors(wanted, said) if wanted else None)


def test_what_differs_is_marked_and_named() -> None:
    html = speech._text(listened("he was knot old", "he was not an old"))
    assert "knot (is: " in html and "is missing)" in html and html.count("<mark") == 2


def test_what_an_engine_wrote_is_text_and_never_markup() -> None:
    evil = listened("<img src=x onerror=alert(1)>")
    for html in (speech._text(evil), speech._table([evil]), speech._downloads(evil)):
        assert "<img" not in html


def test_without_the_words_nobody_counts() -> None:
    assert "unknown" in speech._table([listened("hello")])


def test_a_recording_of_ones_own_opens_its_fields() -> None:
    shown = speech.View(SpeechModel(Steps()))
    assert "wb-hidden" in shown._path._dom_classes
    shown._sample.value = ""
    assert "wb-hidden" not in shown._path._dom_classes
    shown._upload.value = (
        {"name": "a.wav", "content": memoryview(b"x"), "type": "", "size": 1, "last_modified": datetime.now(UTC)},
    )
    assert shown.state.path.endswith("a.wav") and shown._path.value == shown.state.path


def test_what_the_microphone_hears_is_the_recording() -> None:
    shown = speech.View(SpeechModel(Steps()))
    shown._microphone.recording = b"sound"
    assert Path(shown.state.path).read_bytes() == b"sound" and shown.state.sample == ""
    shown._microphone.failure = "Permission denied"
    assert "Permission denied" in shown.alert.value and "upload a file" in shown.alert.value


def test_an_engine_that_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Availability(False, "The package x is not installed.", "Install it: pip install x")
    monkeypatch.setattr("workbench.engines.speech_engine.SpeechEngine.available", lambda self, machine=None: missing)
    shown = speech.View(SpeechModel(Steps()))
    assert shown._engines.options == () and "pip install x" in shown._refused.value


@pytest.mark.browser
@pytest.mark.engine
def test_three_engines_write_a_clip_down(
    open_page: Callable[..., Any],
    tmp_path: Path,
    home_with_speech: Path,
) -> None:
    with serve("06_speech_model", open_browser=False, block=False, announce=lambda _: None) as server:
        page = open_page()
        page.set_default_timeout(120_000)
        page.goto(server.url)
        page.get_by_label("Recording").select_option("He might even have been made amiable")
        page.get_by_role("button", name="Transcribe").click()
        page.get_by_role("rowheader", name="OpenAI Whisper FP32").wait_for()
        page.locator(FIGURES).first.wait_for()
        assert page.locator(".wb-transcript").count() == 3
        assert page.locator(".wb-transcript mark").count() == 0
        look(page, "speech")
        with page.expect_download() as waiting:
            page.get_by_role("link", name="srt").first.click()
        assert "-->" in Path(waiting.value.path()).read_text()
        page.get_by_label("Recording").select_option(speech.OWN)
        page.get_by_role("button", name="Record", exact=True).click()
        page.get_by_role("button", name="Stop recording").wait_for()
        page.wait_for_timeout(1500)
        page.get_by_role("button", name="Stop recording").click()
        page.get_by_role("button", name="Record", exact=True).wait_for()
        page.wait_for_function("[...document.querySelectorAll('input')].some((one) => one.value.endsWith('.webm'))")
        (recorded,) = (home_with_speech / "cache/uploads").glob("*.webm")
        with recorded.open("rb") as file:
            sound = decoded(file, recorded.name)
        with sound.file:
            assert sound.seconds > 0.8
        page.get_by_label("Path of a file").fill(str(tmp_path))
        page.get_by_label("Path of a file").press("Enter")
        page.get_by_role("button", name="Transcribe").click()
        page.get_by_role("alert").get_by_text("There is no file").first.wait_for()
        page.goto("about:blank")
