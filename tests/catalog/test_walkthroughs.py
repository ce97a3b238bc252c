"""The guide's commands as they are today: strict records, every one of them sourced."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import catalog, models
from workbench.catalog.loader import load
from workbench.errors import UnknownName, UsageError


def test_a_walkthrough_is_found_by_its_number() -> None:
    assert catalog.walkthrough(1) is catalog.walkthrough("1")
    with pytest.raises(UnknownName, match="no walk-through called '7'"):
        catalog.walkthrough(7)


@pytest.mark.parametrize("number", catalog.walkthroughs())
def test_every_step_says_what_to_type_why_and_where_that_is_from(number: str) -> None:
    found = catalog.walkthrough(number)
    assert found.checked
    for step in found.steps:
        assert step.now
        assert step.why
        assert step.source
        assert (step.status == "new") == (step.guide == ""), step
        assert not step.tool or step.tool in found.tools


@pytest.mark.parametrize("number", catalog.walkthroughs())
def test_its_models_are_described_in_the_catalog_and_its_tools_say_how_they_are_installed(number: str) -> None:
    found = catalog.walkthrough(number)
    for model in found.models:
        for name in model.names:
            assert models.describe(model.describe, name).weight_bytes
    known = {**catalog.apps(), **catalog.engines()}
    for tool in found.tools:
        assert set(known[tool].install) == {"Linux", "macOS", "Windows"}


def test_all_commands_of_the_guides_first_walkthrough_are_there_and_the_outdated_ones_named() -> None:
    statuses = {step.guide: step.status for step in catalog.walkthrough(1).steps}
    assert statuses["curl -fsSL https://ollama.com/install.sh | sh"] == "works"
    assert statuses["ollama pull llama2:7b"] == statuses["ollama run llama2:7b"] == "outdated"
    assert statuses["ollama serve"] == "outdated", "it runs already, and a second one finds the port taken"
    assert statuses["https://ollama.ai/"] == "renamed"
    assert statuses["python convert.py --outfile llama-7b-q4_0.gguf --model llama-7b"] == "outdated"


def test_all_commands_of_the_guides_second_walkthrough_are_there_and_the_dead_link_is_named() -> None:
    statuses = {step.guide: step.status for step in catalog.walkthrough(2).steps if step.guide}
    assert len(statuses) == 7
    assert next(status for guide, status in statuses.items() if "runwayml" in guide) == "outdated"


def test_all_commands_of_the_guides_third_walkthrough_are_there() -> None:
    statuses = {step.guide: step.status for step in catalog.walkthrough(3).steps}
    assert statuses["git clone https://github.com/ggerganov/whisper.cpp"] == "renamed"
    assert statuses["make"] == statuses["./main -m models/ggml-base.bin -f your-audio-file.mp3"] == "outdated"
    assert statuses["bash ./models/download-ggml-model.sh base"] == "works"


def test_a_status_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "walkthroughs.yaml"
    path.write_text(
        "x: {title: t, about: a, task: chat, tools: {}, models: [], source: s, checked: 2026-01-31,"
        " steps: [{guide: g, status: fine, now: [], why: w, source: s}]}"
    )
    with pytest.raises(UsageError, match="status is 'fine', expected one of works"):
        load(path, catalog.Walkthrough)
