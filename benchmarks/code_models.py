"""What the embedded model's code does: every problem once, greedy, asked in the chat and as a completion."""

from __future__ import annotations

from collections import Counter
from typing import Any

import workbench
from workbench.measurement.code import Evaluation
from workbench.report import MODEL


def run() -> dict[str, Any]:
    """pass@1 with its interval, and how many problems ended in which way, for both ways of asking."""
    with workbench.deploy(MODEL) as deployment:
        return {
            mode: summary(workbench.evaluate(deployment, mode=mode, run_generated_code=True))  # type: ignore[arg-type]
            for mode in ("chat", "complete")
        }


def summary(found: Evaluation) -> dict[str, Any]:
    """What is worth keeping of an evaluation for years."""
    keys = ("model", "engine", "format", "samples", "temperature", "pass_at_1", "tokens", "seconds", "created")
    kinds = {result.problem: result.attempts[0].outcome.kind for result in found.results}
    whole = found.to_dict()
    return {**{key: whole[key] for key in keys}, "counts": dict(Counter(kinds.values())), "problems": kinds}
