"""Chapter 0 as a notebook: it runs from top to bottom, and its predictions hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.engine
@pytest.mark.usefixtures("home_with_model")
def test_the_tour_runs_and_records_what_it_found(run_notebook: Callable[..., Any]) -> None:
    run = run_notebook("00_start_here", context=512, repeats=2)
    for name, measured in run.values["measured"].items():
        assert measured["value"] > 0, name
    assert Path(run.values["report"]).stat().st_size > 100_000
    predicted, measured = run.values["predicted"]["memory_peak"], run.values["measured"]["memory_peak"]
    assert 0.75 < predicted["value"] / measured["value"] < 1.33
    assert figures(run.notebook) == 3


def figures(notebook: Any) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return sum("application/vnd.plotly.v1+json" in output.get("data", {}) for output in outputs)
