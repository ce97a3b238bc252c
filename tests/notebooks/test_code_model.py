"""Chapter 4 as a notebook: it runs, nothing that a model wrote runs unless that is said, and the number is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks.conftest import ROOT
from tests.notebooks.test_start_here import figures
from workbench.catalog.loader import FOLDER
from workbench.measurement.code import problems


@pytest.mark.engine
@pytest.mark.usefixtures("home_with_model")
def test_a_few_problems_are_judged(run_notebook: Callable[..., Any]) -> None:
    run = run_notebook("04_code_model", problems=3, mode="complete", run_generated_code=True)
    kept = json.loads(Path(run.values["path"]).read_text())
    assert len(kept["problems"]) == 3
    value, low, high = run.values["pass_at_1"]
    assert 0 <= low <= value <= high <= 1
    assert value == kept["pass_at_1"]["value"]
    assert run.values["infill"] is None
    assert figures(run.notebook) == 1


def test_nothing_is_evaluated_unless_that_is_said() -> None:
    notebook = json.loads((ROOT / "notebooks" / "04_code_model.ipynb").read_text("utf-8"))
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert "run_generated_code = False" in sources[0]
    evaluating = [source for source in sources if "evaluate(" in source]
    assert all("if run_generated_code:" in source.partition("evaluate(")[0] for source in evaluating)
    assert len(evaluating) == 1


def test_what_it_says_of_the_embedded_model_is_what_was_recorded() -> None:
    """All problems that were solved are easy, too."""
    record = json.loads((FOLDER / "records" / "code_models.json").read_text("utf-8"))["result"]
    solved = {}
    for mode, found in record.items():
        assert {*found["problems"]} == {problem.name for problem in problems()}
        solved[mode] = [name for name, kind in found["problems"].items() if kind == "passed"]
    chat, complete, total = len(solved["chat"]), len(solved["complete"]), len(problems())
    prose = (ROOT / "notebooks" / "04_code_model.ipynb").read_text("utf-8")
    assert f"{chat} of {total} problems asked in the chat and {complete} of {total} by" in prose
    easy = {problem.name for problem in problems() if problem.difficulty == "easy"}
    assert {*solved["chat"], *solved["complete"]} <= easy
