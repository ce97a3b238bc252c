"""Published peaks of Transformers and its like against what is predicted for them: errors, and how far intervals hold.

How far the intervals hold for a model nobody had seen: they are stretched until they hold 90 % of all other models'
peaks, and then asked about this one's.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import models
from workbench.engines import Settings
from workbench.engines.transformers_memory import Load, habits_of, torch_parts
from workbench.errors import WorkbenchError
from workbench.evidence import Breakdown
from workbench.units import GIB

TABLE = Path(__file__).parent / "published" / "llm_memory.csv"
ENGINES = ("HF Transformers", "GPTQ-for-LLaMa", "AutoAWQ 0", "ExLlama", "torchao")
LEVEL = 0.9


@dataclass(frozen=True, slots=True)
class Scored:
    """One published peak and what was predicted for it, in bytes."""

    engine: str
    model: str
    format: str
    predicted: float
    low: float
    high: float
    measured: float

    @property
    def error(self) -> float:
        """Signed, as a fraction of what was measured."""
        return self.predicted / self.measured - 1

    def holds(self, stretch: float = 1.0) -> bool:
        """Whether the interval, stretched, holds what was measured."""
        low = self.predicted - stretch * (self.predicted - self.low)
        return low <= self.measured <= self.predicted + stretch * (self.high - self.predicted)


def run() -> dict[str, Any]:
    """Errors by engine and by engine and format, and the rows that nothing was predicted for."""
    scored, skipped = _scored()
    groups: dict[str, list[Scored]] = defaultdict(list)
    for one in scored:
        for name in ("all", one.engine, f"{one.engine} | {one.format}"):
            groups[name].append(one)
    return {
        "groups": {name: _summary(members) for name, members in sorted(groups.items())},
        "inside_interval_of_models_left_out": _left_out(scored),
        "skipped": skipped,
    }


def _scored() -> tuple[list[Scored], dict[str, int]]:
    scored, skipped = [], defaultdict(int)
    with TABLE.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["component"] == "peak_vram"]
    for row in rows:
        if not row["engine"].startswith(ENGINES):
            continue
        if "Max1100" in row["device"] and "Base" not in row["quant"]:
            skipped["quantized in place: the peak is the original model's"] += 1
            continue
        try:
            scored.append(_score(row))
        except WorkbenchError as error:
            skipped[f"{row['model']} {row['quant']}: {error.what}"] += 1
    return scored, dict(skipped)


def _score(row: dict[str, str]) -> Scored:
    model = models.describe(row["model"], row["quant"])
    kind = "q8_0" if row["kv_dtype"] == "int8 KV" else "f16"
    settings = Settings(row["model"], model.quantization, 1, cache_type=kind)
    habits = habits_of(row["engine"], row["source"])
    parts = torch_parts(model, _load(row), settings, int(row["n_devices"] or 1), habits)
    totals = [Breakdown("", part).total for part in parts]
    predicted, low, high = (sum(getattr(one, bound) for one in totals) for bound in ("value", "low", "high"))
    return Scored(row["engine"], row["model"], model.quantization, predicted, low, high, _measured(row))


def _load(row: dict[str, str]) -> Load:
    tokens, batch = int(row["n_ctx"].strip("~")), int(row["batch"])
    if found := re.search(r"prefill=(\d+), generate (\d+)", row["notes"]):
        return Load(int(found[1]), int(found[2]), batch)
    # AutoAWQ's benchmark processes a prompt of that many tokens and answers with as many; the others only generate.
    return Load(tokens, tokens, batch) if row["engine"].startswith("AutoAWQ") else Load(1, tokens, batch)


def _measured(row: dict[str, str]) -> float:
    """Qwen's README of 2023 says GB and means GiB: its 15.2 for 7 B parameters in BF16 are less than the weights."""
    return float(row["value"]) * GIB if row["source"].startswith("QwenLM/Qwen@") else float(row["bytes"])


def _summary(members: Sequence[Scored]) -> dict[str, float]:
    errors = [one.error for one in members]
    return {
        "rows": len(members), "mean_error": sum(map(abs, errors)) / len(errors), "bias": sum(errors) / len(errors),
        "largest_error": max(map(abs, errors)), "within_10_percent": sum(abs(e) <= 0.1 for e in errors) / len(errors),
        "inside_interval": sum(one.holds() for one in members) / len(members),
    }  # fmt: skip


def _left_out(scored: Sequence[Scored]) -> float:
    """The share of peaks inside intervals that were stretched without their model."""
    held = 0
    for name in {one.model for one in scored}:
        stretch = _stretch(one for one in scored if one.model != name)
        held += sum(one.holds(stretch) for one in scored if one.model == name)
    return held / len(scored)


def _stretch(others: Iterable[Scored]) -> float:
    """How far intervals must be stretched to hold LEVEL of these."""
    known = list(others)
    for percent in range(10, 1000, 5):
        if sum(one.holds(percent / 100) for one in known) >= LEVEL * len(known):
            return percent / 100
    return 10.0
