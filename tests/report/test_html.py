"""The report: opens anywhere, holds every number, and believes no name and no answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from workbench.evidence import Basis, Estimate, Measured
from workbench.report import write_report
from workbench.report.html import error_in_words, render, rows

Tell = Callable[..., Any]


class Page(HTMLParser):
    """Tags, attributes and text of a page as a browser would take it; scripts and styles are no text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.code: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        (self.code if self.cdata_elem else self.words).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def page(story: Tell) -> Page:
    return Page(render(*story(), "It scatters."))


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    links = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "data", "action", "poster"}
    ]
    assert links == []
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "iframe", "img", "object", "embed", "base"})
    style = "".join(code for code in page.code if "@import" in code or "url(http" in code)
    assert style == "" or "Plotly" in style  # plotly's own script speaks of such things


def test_plotly_is_there_once(page: Page) -> None:
    scripts = [code for code in page.code if len(code) > 1_000_000]
    assert len(scripts) == 1


def test_every_quantity_is_there_predicted_and_measured(story: Tell, page: Page) -> None:
    made, measurement, _ = story()
    for name, title in (("memory_peak", "peak memory"), ("prefill", "prefill"), ("decode", "decode"),
                        ("ttft", "time to first token")):  # fmt: skip
        assert f"{title} {made.predictions[name]} {measurement.values[name]} " in page.text
    for name, value in measurement.values.items():
        assert f"{name} {value.method}" in page.text
    assert "1500 2000 2512 tok/s" in page.text  # the raw samples
    assert "engine the interpreter of the fake server" in page.text  # the parts of the memory


def test_decode_stands_beside_what_memory_allows(story: Tell, page: Page) -> None:
    assert "measured error what memory allows peak memory" in page.text
    assert "25% of the bound, 8,000 tok/s" in page.text
    assert "bound of decode, 8,000 tok/s made up weights read: 5 MB a token nowhere" in page.text
    unknown = Page(render(*story(bound=Estimate.unknown("tok/s", "not calibrated")), "Yes.")).text
    assert "what memory allows" not in unknown
    assert "bound of decode" not in unknown


def test_costs_are_there_with_what_was_assumed(page: Page) -> None:
    assert "here, electricity only" in page.text
    assert "Assumed electricity: 0.15 USD/kWh" in page.text
    assert "Assumed power" not in page.text
    for title in ("OpenAI GPT-4o", "Anthropic Claude Sonnet 4.5", "Google Gemini 2.5 Flash"):
        assert title in page.text


def test_where_it_came_from_is_there(story: Tell) -> None:
    made, measurement, comparison = story()
    text = Page(render(made, measurement, comparison, "")).text
    for fact in (made.id, "measurement 7 of the ledger", "Test OS", "Test CPU", *made.reasons, "3 repeats"):
        assert fact in text
    assert "What it answered" not in text


SCRIPT = "<script>alert('x')</script><img src=x onerror=alert(1)>"


def test_a_name_and_an_answer_are_text_not_markup(story: Tell) -> None:
    html = render(*story(name=SCRIPT), answer=SCRIPT + " & </blockquote>")
    page, plain = Page(html), Page(render(*story(), "Yes."))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert "<script>alert" not in html
    assert f"{SCRIPT} & </blockquote>" in page.text
    assert page.text.count(SCRIPT) >= 3  # title, heading, answer


def test_it_lies_among_the_reports_under_a_name_that_tells(story: Tell, home: Path) -> None:
    made, measurement, comparison = story()
    path = write_report(made, measurement, comparison)
    assert path.parent == home / "data" / "reports"
    assert path.name == f"{made.created[:10]}-little-{made.id}.html"
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("name", ["owner/model", "../../../../escaped", "a\\b", ".hidden", "x" * 300, "naïve Ω"])
def test_no_name_leads_out_of_the_folder(story: Tell, home: Path, name: str) -> None:
    """A model's name comes from its file, that is, from a stranger."""
    path = write_report(*story(name=name))
    assert path.parent.resolve() == home / "data" / "reports"
    assert path.is_file()


def test_another_place_can_be_given(story: Tell, tmp_path: Path) -> None:
    assert write_report(*story(), path=tmp_path / "new" / "r.html") == tmp_path / "new" / "r.html"
    assert (tmp_path / "new" / "r.html").stat().st_size > 1_000_000


def test_rows_are_in_reading_order(story: Tell) -> None:
    _, measurement, _ = story()
    assert [title for title, *_ in rows(measurement)] == [
        "peak memory", "prefill", "decode", "time to first token"
    ]  # fmt: skip


def test_a_measurement_stands_beside_its_own_predictions(story: Tell) -> None:
    """The plan at hand may be another one than the plan of the deployment that was measured."""
    _, measurement, _ = story()
    decode = Estimate.within(123, "tok/s", Basis("of another plan"), 0.1, 0.1)
    other = replace(measurement, predictions={**measurement.predictions, "decode": decode})
    assert [estimate for title, estimate, *_ in rows(other) if title == "decode"] == [decode]


@pytest.mark.parametrize(
    ("predicted", "measured", "words"),
    [
        (Estimate.within(103.1, "B", Basis(""), 0.1, 0.1), 100, "+3.1%, inside the interval"),
        (Estimate.within(50, "B", Basis(""), 0.1, 0.1), 100, "-50.0%, outside the interval"),
        (Estimate.unknown("B", "not calibrated"), 100, "not predicted"),
    ],
)
def test_errors_in_words(predicted: Estimate, measured: float, words: str) -> None:
    assert error_in_words(predicted, Measured((measured,), "B", "")) == words
