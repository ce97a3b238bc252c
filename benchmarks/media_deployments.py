"""Predicted against measured memory and speed of deployments that make pictures and that transcribe, on this machine.

The embedded models. Predictions are stored in a ledger of their own before their deployment starts, and nothing
measured goes back into any of them. Deployments run one after the other.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import workbench
from workbench import machine
from workbench.engines import ImageShape
from workbench.evidence.ledger import Ledger
from workbench.measurement import measure

QUANTITIES = ("memory_peak", "step", "image", "window", "real_time_factor")
SIZES = ((64, 1), (64, 4), (64, 16), (128, 1), (128, 4), (256, 1))
#: (model, options of workbench.plan)
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    *(("icons", {"image": ImageShape(side, side, 10, images, 1.75)}) for side, images in SIZES),
    ("icons", {"image": ImageShape(64, 64, 20, 4, 1.75), "threads": 1}),
    ("icons", {"image": ImageShape(64, 64, 20, 4, 1.75), "format": "BF16"}),
    *(("whisper-tiny.en", {"engine": one}) for one in ("faster-whisper", "whisper.cpp", "openai-whisper")),
    *(("whisper-tiny.en", {"engine": one, "threads": 1}) for one in ("faster-whisper", "whisper.cpp")),
    *(("whisper-tiny.en", {"engine": one, "beam": 5}) for one in ("faster-whisper", "whisper.cpp", "openai-whisper")),
    ("whisper-tiny.en", {"engine": "faster-whisper", "format": "INT8"}),
)


def run() -> dict[str, Any]:
    """A summary by kind and quantity, and per deployment what was predicted and what was measured."""
    found = list(_measured())
    kinds = dict.fromkeys(model for model, _ in CASES)
    summary = {kind: _summary([one for one in found if one["model"] == kind]) for kind in kinds}
    return {"summary": summary, "cases": found}


def _measured() -> Iterator[dict[str, Any]]:
    here = machine.calibrate(machine.probe(), force=True)
    with TemporaryDirectory() as folder:
        for number, (model, options) in enumerate(CASES):
            row = _one(model, options, here, Ledger(Path(folder) / f"{number}.sqlite"))
            print(f"  {model} {options}: {row['errors']}", flush=True)
            yield row


def _one(model: str, options: dict[str, Any], here: machine.Machine, ledger: Ledger) -> dict[str, Any]:
    plan = workbench.plan(model, machine=here, **options)
    ledger.predict(plan.to_dict(), plan.predictions)
    with workbench.deploy(plan, share=False) as deployment:
        measure(deployment, repeats=3, ledger=ledger)
    pairs = {pair["quantity"]: pair for pair in ledger.pairs() if pair["quantity"] in QUANTITIES}
    return {
        "model": model, "engine": plan.engine.name, "options": {k: str(v) for k, v in options.items()},
        "errors": {name: pair["error"] for name, pair in pairs.items()},
        "pairs": {
            name: {key: pair[key] for key in ("unit", "predicted", "low", "high", "measured")}
            for name, pair in pairs.items()
        },
    }  # fmt: skip


def _summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    summary = {}
    for name in QUANTITIES:
        if pairs := [(one["errors"][name], one["pairs"][name]) for one in found if name in one["errors"]]:
            sizes = [abs(error) for error, _ in pairs]
            summary[name] = {
                "deployments": len(pairs), "median_error": statistics.median(sizes), "largest_error": max(sizes),
                "inside_interval": sum(pair["low"] <= pair["measured"] <= pair["high"] for _, pair in pairs),
            }  # fmt: skip
    return summary
