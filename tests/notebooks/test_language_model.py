"""Chapter 3 as a notebook: deployed, stopped, asked, and compared on more than one engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.notebooks.test_start_here import figures


@pytest.mark.engine
@pytest.mark.usefixtures("home_with_model")
def test_ask_stop_and_compare(run_notebook: Callable[..., Any]) -> None:
    run = run_notebook("03_language_model", engines=["llama.cpp", "fake"], context=512, max_tokens=24)
    real, fake = run.values["compared"]
    assert run.values["stopped_after"] == 10
    assert "blue" in run.values["answer"]
    assert real["text"] == run.values["answer"]  # the same engine, the same words
    assert fake["text"].startswith("The quick brown fox")
    for one in (real, fake):
        assert set(one["measured"]) == {"decode", "ttft", "memory_peak"}
        assert all(value > 0 for value in one["measured"].values())
    assert real["share_of_bound"] > 0
    assert run.values["bound"]["value"] == pytest.approx(real["bound_tok_per_s"], rel=0.01)
    assert figures(run.notebook) == 4
