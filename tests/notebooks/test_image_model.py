"""Chapter 5 as a notebook: the embedded model draws four seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.notebooks.test_start_here import figures


@pytest.mark.engine
def test_four_seeds(run_notebook: Callable[..., Any]) -> None:
    run = run_notebook("05_image_model", prompt="a red apple", seed=1, steps=10)
    assert run.values["seeds"] == [1, 2, 3, 4] and run.values["steps"] == 10 and run.values["left_out"] == ""
    assert min(run.values["sizes"]) > 500
    assert figures(run.notebook) == 2
