"""Chapter 1 as a notebook: it runs, and its verdicts are the planner's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.notebooks.test_start_here import figures
from workbench.planning import tiers


def test_the_machine_the_map_and_the_tiers(run_notebook: Callable[..., Any]) -> None:
    run = run_notebook("01_hardware", device="A100 SXM4 80GB", count=2, tier="multi-gpu")
    assert "2 × A100 SXM4 80GB" in run.values["spots"]
    verdicts = run.values["verdicts"]
    assert len(verdicts) == sum(len(tier.suggestions) for tier in tiers.tiers().values())
    assert verdicts["consumer-8gb: LLaMA-7B (quantized)"] == "holds"
    assert verdicts["high-end-24gb: LLaMA-70B (quantized)"].startswith("holds only as")
    assert figures(run.notebook) == 2
