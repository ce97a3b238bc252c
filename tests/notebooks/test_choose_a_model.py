"""Chapter 2 as a notebook: it runs for every kind of model, and its numbers are the planner's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.notebooks.test_start_here import figures
from workbench import machine, planning


@pytest.mark.parametrize(
    ("task", "model"), [("chat", "llama-3.1-8b"), ("imagine", "sdxl-base-1.0"), ("transcribe", "whisper-small")]
)
def test_every_kind_of_model_is_ranked(run_notebook: Callable[..., Any], task: str, model: str) -> None:
    run = run_notebook("02_choose_a_model", task=task, model=model, device="RTX 4090")
    assert run.values["plans"] > 5
    assert run.values["devices"] > 100
    assert run.values["best"]["devices"] == ["GeForce RTX 4090"]
    assert figures(run.notebook) == 3


def test_the_numbers_are_the_planner_s(run_notebook: Callable[..., Any]) -> None:
    found = run_notebook("02_choose_a_model", model="qwen2.5-7b", context=4096).values["best"]
    expected = planning.choices("qwen2.5-7b", machine=machine.describe("RTX 3090"), context=4096).best
    assert found["predictions"]["decode"]["value"] == pytest.approx(expected.decode.value)
    assert found["settings"]["context"] == 4096
