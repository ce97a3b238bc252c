"""Scores the predictions on every published table: the figures that the README states.

Coefficients were fitted to the same rows; errors on devices left out of the fit are `fit_speed`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.planning.validation import validate

FOLDER = Path(__file__).with_name("published")
TABLES = ("llm_speed", "llm_memory", "diffusion_speed", "diffusion_memory", "whisper_speed", "whisper_memory")


def run() -> dict[str, Any]:
    """The groups of every table."""
    found = [validate(FOLDER / f"{name}.csv").to_dict()["groups"] for name in TABLES]
    return {"groups": [group for groups in found for group in groups]}
