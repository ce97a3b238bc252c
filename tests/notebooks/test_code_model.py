"""Chapter 4 as a notebook: it runs, nothing that a model wrote runs unless that is said, and the number is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks.test_start_here import figures

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("home_with_model")]


def test_a_few_problems_are_judged(run_notebook: Callable[..., Any]) -> None:
    run = run_notebook("04_code_model", problems=3, mode="complete", run_generated_code=True)
    kept = json.loads(Path(run.values["path"]).read_text())
    assert len(kept["problems"]) == 3
    value, low, high = run.values["pass_at_1"]
    assert 0 <= low <= value <= high <= 1
    assert value == kept["pass_at_1"]["value"]
    assert run.values["infill"] is None
    assert figures(run.notebook) == 1


def test_without_a_word_nothing_is_evaluated(run_notebook: Callable[..., Any], home: Path) -> None:
    assert run_notebook("04_code_model").values == {}
    assert not (home / "data" / "evaluations").exists()
