"""Predicted against measured peak memory of the embedded model at three contexts; predictions come first."""

from __future__ import annotations

from typing import Any

import workbench

CONTEXTS = (512, 2048, 8192)


def run() -> dict[str, Any]:
    """Per context: predicted and measured bytes and the signed error as a fraction of the measured."""
    machine = workbench.calibrate(workbench.probe())
    return {str(context): _at(context, machine) for context in CONTEXTS}


def _at(context: int, machine: Any) -> dict[str, Any]:
    plan = workbench.plan("smollm2-135m-instruct", machine=machine, context=context)
    predicted = plan.predictions["memory_peak"]
    with workbench.deploy(plan, share=False) as deployment:
        measured = workbench.measure(deployment, repeats=1).values["memory_peak"]
    return {
        "engine": plan.engine_version, "predicted_bytes": predicted.known(), "low_bytes": predicted.low,
        "high_bytes": predicted.high, "measured_bytes": measured.value, "method": measured.method,
        "error": predicted.known() / measured.value - 1,
    }  # fmt: skip
