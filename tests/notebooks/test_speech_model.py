"""Chapter 6 as a notebook: three engines, one recording, the same words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.notebooks.test_start_here import figures


@pytest.mark.engine
@pytest.mark.usefixtures("home_with_speech")
def test_three_engines_hear_the_same(run_notebook: Callable[..., Any]) -> None:
    run = run_notebook("06_speech_model", recording="librivox-0890")
    assert len(run.values["texts"]) == 3
    assert all("coldhearted" in one.lower().replace("-", "") for one in run.values["texts"])
    assert max(run.values["errors"]) <= 2  # a hyphen less makes two wrong words
    assert figures(run.notebook) == 2
