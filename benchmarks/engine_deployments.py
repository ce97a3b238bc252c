"""Predicted against measured memory and speed of deployments on every engine that runs here.

The embedded model, written in each engine's formats. Predictions are stored in a ledger of their own before their
deployment starts, and nothing measured goes back into any of them. Deployments run one after the other.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import workbench
from workbench import engines, machine
from workbench.errors import WorkbenchError
from workbench.evidence import Measured
from workbench.evidence.ledger import Ledger
from workbench.measurement import measure

EMBEDDED = "smollm2-135m-instruct"
REPEATS = 2
QUANTITIES = ("memory_peak", "prefill", "decode", "throughput", "batch")
MEMORY_MOST, SPEED_MOST = 0.05, 0.20  # the figures to reach, as medians


class Case(NamedTuple):
    """One deployment."""

    engine: str
    format: str
    context: int
    requests: int = 1


CASES = (
    Case("llama.cpp", "Q4_1", 1024), Case("llama.cpp", "Q4_1", 1024, 4), Case("llama.cpp", "Q8_0", 1024),
    Case("llama.cpp", "F16", 1024, 2), Case("llama.cpp", "F32", 2048), Case("llama.cpp", "Q4_0", 2048),
    Case("llama.cpp", "Q5_0", 1024),
    Case("transformers", "BF16", 512), Case("transformers", "BF16", 1024, 4), Case("transformers", "BF16", 2048),
    Case("transformers", "FP32", 512), Case("transformers", "FP32", 1024, 4), Case("transformers", "FP32", 4096),
    Case("transformers", "NF4", 512), Case("transformers", "NF4-DQ", 1024, 2), Case("transformers", "LLM.int8", 512),
    Case("transformers-serve", "BF16", 512), Case("transformers-serve", "FP32", 1024),
    Case("onnx-runtime", "ONNX-int4", 512), Case("onnx-runtime", "ONNX-int4", 1024, 4),
    Case("onnx-runtime", "ONNX-int4", 4096), Case("onnx-runtime", "ONNX-int4", 2048, 2),
    Case("onnx-runtime", "FP32", 512), Case("onnx-runtime", "FP32", 1024, 4),
    Case("onnx-runtime", "FP32", 2048), Case("vllm", "BF16", 512), Case("vllm", "BF16", 1024, 4),
    Case("vllm", "BF16", 1024, 8), Case("vllm", "FP32", 512),
)  # fmt: skip


def run() -> dict[str, Any]:
    """A summary, and per deployment what was predicted and what was measured; those that could not run say why.

    What was measured before an interrupt is kept, and `left_out` says how many cases are missing.
    """
    here = machine.calibrate(machine.probe(), force=True)
    found: list[dict[str, Any]] = []
    with suppress(KeyboardInterrupt):
        found.extend(measured(here))
    return {"summary": summary(found), "left_out": len(CASES) - len(found), "calibration": rates(here), "cases": found}


def rates(here: machine.Machine) -> dict[str, float]:
    """Medians of what the speeds are predicted from: B/s and FLOP/s, of all threads and of one core."""
    assert here.calibration  # noqa: S101 - calibrated by the caller
    found = {field.name: getattr(here.calibration, field.name) for field in fields(here.calibration)}
    return {name: value.value for name, value in found.items() if isinstance(value, Measured)}


def measured(here: machine.Machine) -> Iterator[dict[str, Any]]:
    """Each case in turn, on this machine as it was calibrated before the first."""
    with TemporaryDirectory() as folder:
        for number, case in enumerate(CASES):
            if not engines.get(case.engine).available().ok:
                continue
            row = {**case._asdict(), **_one(case, here, Ledger(Path(folder) / f"{number}.sqlite"))}
            print(f"  {_line(row)}", flush=True)
            yield row


def _one(case: Case, here: machine.Machine, ledger: Ledger) -> dict[str, Any]:
    plan = workbench.plan(
        EMBEDDED, machine=here, engine=case.engine, format=case.format, context=case.context, concurrency=case.requests
    )
    ledger.predict(plan.to_dict(), plan.predictions)
    try:
        with workbench.deploy(plan, share=False) as deployment:
            measure(deployment, repeats=REPEATS, ledger=ledger)
    except WorkbenchError as error:
        return {"failure": str(error)}
    pairs = {pair["quantity"]: pair for pair in ledger.pairs() if pair["quantity"] in QUANTITIES}
    return {
        "version": plan.engine_version, "threads": plan.settings.threads, "predicted_at": plan.created,
        "prefill_threads": plan.settings.prefill_threads,
        "quantities": {
            name: {key: pair[key] for key in ("unit", "predicted", "low", "high", "measured", "error")}
            for name, pair in pairs.items()
        },
    }  # fmt: skip


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the sizes of the errors, over all and by engine, and whether the figures are reached."""
    every = {engine: _medians([row for row in found if row["engine"] == engine]) for engine in _names(found)}
    whole = _medians(found)
    memory, speed = whole["memory_peak"], whole["speed"]
    reached = memory is not None and speed is not None and memory <= MEMORY_MOST and speed <= SPEED_MOST
    return {"deployments": sum("quantities" in row for row in found), "median_error": whole, "by_engine": every,
            "reached": reached}  # fmt: skip


def _names(found: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["engine"] for row in found))


def _medians(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """speed: over all quantities that are no memory."""
    sizes: dict[str, list[float]] = {}
    for row in rows:
        for name, pair in row.get("quantities", {}).items():
            if pair["error"] is not None:
                sizes.setdefault(name, []).append(abs(pair["error"]))
                if name != "memory_peak":
                    sizes.setdefault("speed", []).append(abs(pair["error"]))
    return {name: statistics.median(sizes[name]) if name in sizes else None for name in (*QUANTITIES, "speed")}


def _line(row: dict[str, Any]) -> str:
    errors = {name: pair["error"] for name, pair in row.get("quantities", {}).items()}
    shown = ", ".join(f"{name} {'unknown' if error is None else f'{error:+.1%}'}" for name, error in errors.items())
    return f"{row['engine']} {row['format']} {row['context']} × {row['requests']}: {shown or row.get('failure')}"
