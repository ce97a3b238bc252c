"""A plan with its measurement and its costs, made up: nothing is started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from workbench import costs
from workbench.costs import Comparison
from workbench.evidence import Basis, Estimate, Measured
from workbench.measurement import Measurement, Sample
from workbench.planning import Plan

Story = tuple[Plan, Measurement, Comparison]
BOUND = Estimate(8_000, 8_000, 8_000, "tok/s", Basis("made up", {"weights read": "5 MB a token"}, "nowhere"))


@pytest.fixture
def story(fake_plan: Callable[..., Plan]) -> Callable[..., Story]:
    """story(name=…, bound=…) → plan, measurement and comparison of a model of that name."""

    def tell(name: str = "little", bound: Estimate = BOUND) -> Story:
        made = fake_plan()
        made = replace(made, model=replace(made.model, name=name))
        values = {
            "memory_peak": Measured((14_000_000.0,), "B", "peak PSS"),
            "prefill": Measured((40_000.0, 50_000.0, 61_234.0), "tok/s", "prompt tokens ÷ time"),
            "decode": Measured((1_500.0, 2_000.0, 2_512.0), "tok/s", "tokens ÷ time"),
            "ttft": Measured((0.004, 0.005, 0.006), "s", "sent to received"),
            "tpot": Measured((0.0004, 0.0005, 0.0006), "s", "mean time"),
            "cpu": Measured((0.75,), "cores", "CPU time ÷ wall time"),
        }
        measurement = Measurement(
            made.id, name, "fake", made.workload, made.predictions, values, (Sample(0.005, 0.03, 256, 64),) * 3,
            {"system": "Test OS", "engine_version": "0"}, "2026-01-02T03:04:05+00:00", 7, bound,
        )  # fmt: skip
        return made, measurement, costs.compare(values, power_w=50)

    return tell
