"""Fits the coefficients of speed to the published rows, and says how well devices and models left out are predicted.

Writes `workbench/catalog/speed_coefficients.yaml`. Every error and interval in it comes from rows that the fit had not
seen: each device is left out in turn, or each model where an engine was measured on too few devices.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import workbench
from benchmarks import published_speed
from benchmarks.published_speed import Row
from benchmarks.speed_model import CLASSES, PRIORS, SETS, Array, Problem, Set, fit, set_of, weights
from workbench.engines.roofline import DEEP

FILE = Path(workbench.__file__).parent / "catalog" / "speed_coefficients.yaml"
CHECKED = date(2026, 11, 24)
SOURCE = "python -m benchmarks fit_speed, on benchmarks/published/llm_speed.csv (each row names its source)"
#: Rounds of a fit that starts from the fit to everything; devices that make a distribution of their own.
REFIT_ROUNDS, ENOUGH_DEVICES = 6, 5
#: Tails of the intervals: less than 5 %, the less the fewer devices the quantiles are drawn from.
TAIL, TAIL_LESS = 0.05, 0.5
KINDS = ("decode", "depth", "experts", "batch", "devices", "prefill")


@dataclass(frozen=True)
class Left:
    """A row with the logarithm of measured over predicted time, by a fit that had not seen its device or model."""

    row: Row
    one: Set
    ratio: float

    @property
    def error(self) -> float:
        """Fraction by which the predicted speed was off."""
        return abs(math.exp(self.ratio) - 1)


def kind_of(row: Row) -> str | None:
    """The kind of prediction a row tests: whole requests count as decoding, where their time goes."""
    if row.what == "prefill":
        return "prefill" if row.devices == 1 else None
    if row.batch > 1:
        return "batch"
    if row.devices > 1:
        return "devices"
    if row.work.expert_layers:
        return "experts"
    return "depth" if row.work.cache_bytes > DEEP * row.work.dense_bytes else "decode"


def left_out(problem: Problem, start: Array, key: Callable[[Row], str], only: Iterable[str] = ()) -> list[Left]:
    """Every row, predicted by a fit without the rows that share its key."""
    weight, scale = weights(problem.rows)
    keys = np.array([key(row) for row in problem.rows])
    found = []
    for name in sorted(set(only) or set(keys)):
        mine = keys == name
        theta = fit(problem, np.where(mine, 0.0, weight), scale, start, REFIT_ROUNDS)
        residuals = problem.residuals(theta)
        found += [Left(problem.rows[i], problem.sets[i], -residuals[i]) for i in np.flatnonzero(mine)]
    return found


def by_device(rows: Iterable[Left]) -> dict[str, list[Left]]:
    groups: dict[str, list[Left]] = defaultdict(list)
    for one in rows:
        groups[one.row.device.key].append(one)
    return dict(sorted(groups.items()))


def summary(rows: list[Left]) -> dict[str, float]:
    """Mean over devices of each device's mean error, and median, 95 % and bias over rows."""
    errors = [one.error for one in rows]
    devices = [np.mean([one.error for one in mine]) for mine in by_device(rows).values()]
    return {
        "rows": len(rows),
        "devices": len(devices),
        "mean_over_devices": round(float(np.mean(devices)), 4),
        "median_over_rows": round(float(np.median(errors)), 4),
        "p95_over_rows": round(float(np.quantile(errors, 0.95)), 4),
        "bias": round(float(np.median([one.ratio for one in rows])), 4),
    }


# -- intervals -------------------------------------------------------------------------------------------------


def tails(rows: list[Left]) -> tuple[float, float]:
    """The quantiles of measured over predicted (log), every device counting the same."""
    groups = by_device(rows)
    ratios = np.array([one.ratio for mine in groups.values() for one in mine])
    share = np.array([1 / len(mine) for mine in groups.values() for _ in mine])
    order = np.argsort(ratios)
    place = (np.cumsum(share[order]) - share[order] / 2) / share.sum()
    tail = max(0.0, TAIL - TAIL_LESS / len(groups))
    return float(np.interp(tail, place, ratios[order])), float(np.interp(1 - tail, place, ratios[order]))


def spread(rows: list[Left], wider: tuple[float, float]) -> tuple[float, float]:
    """The interval of one kind (log). Rows of few devices say little of other devices: `wider` is added in squares."""
    low, high = tails(rows)
    low, high = min(low, -0.02), max(high, 0.02)
    if len(by_device(rows)) < ENOUGH_DEVICES:
        low, high = -math.hypot(low, wider[0]), math.hypot(high, wider[1])
    return low, high


def coverage(rows: list[Left], wider: tuple[float, float]) -> float:
    """The fraction of rows inside intervals made without their device, every device counting the same."""
    groups = by_device(rows)
    inside = []
    for name, mine in groups.items():
        others = [one for other, theirs in groups.items() if other != name for one in theirs]
        low, high = spread(others, wider) if others else (spread(mine, wider))
        inside.append(np.mean([low <= one.ratio <= high for one in mine]))
    return round(float(np.mean(inside)), 3)


# -- the records -----------------------------------------------------------------------------------------------


def value(problem: Problem, theta: Array, name: str, one: Set) -> float:
    """A coefficient of a set: the product of its factors, priors where no row spoke."""
    first, *_ = PRIORS[name]
    levels = ("", one.runtime, f"{one.engine} on {one.runtime}", one.name)
    places = [problem.p.index.get(f"{name}|{level}") for level in levels]
    start = 0.0 if places[0] is not None else math.log(first)
    return rounded(math.exp(start + sum(float(theta[place]) for place in places if place is not None)))


def single(problem: Problem, theta: Array, name: str) -> float:
    return float(theta[problem.p.index[name]])


def table(problem: Problem, theta: Array, prefix: str, names: Iterable[str]) -> dict[str, float]:
    """The factors called `prefix|name`, by name."""
    found = {name: problem.p.index.get(f"{prefix}|{name}") for name in sorted(set(names))}
    return {name: rounded(math.exp(theta[place])) for name, place in found.items() if place is not None}


def rounded(number: float) -> float:
    return float(f"{number:.4g}")


def formats(problem: Problem, theta: Array, name: str, one: Set) -> dict[str, float]:
    return {kind: value(problem, theta, f"{name} {kind}", one) for kind in CLASSES}


def shared(problem: Problem, theta: Array, runtime: str) -> dict[str, Any]:
    """The factors that all engines of a runtime share: those of its devices."""
    devices = [row.device for row in problem.rows if row.runtime == runtime]
    architectures = [device.architecture for device in devices]
    found: dict[str, Any] = {
        "memory": table(problem, theta, "memory", ["HBM", *(device.memory_type for device in devices)])
    }
    for name in ("architecture", "architecture_slots", "architecture_launch", "architecture_utilisation"):
        found[name] = table(problem, theta, name, architectures)
    capabilities = [device.compute_capability for device in devices if device.vendor == "NVIDIA"]
    found["architecture_utilisation"] |= table(problem, theta, "architecture_utilisation", capabilities)
    found |= {name: rounded(math.exp(single(problem, theta, name))) for name in ("inline_ecc", "two_dies")}
    found |= {name: rounded(single(problem, theta, name)) for name in ("memory_power", "matrix_power")}
    return found


def coefficients_of(problem: Problem, theta: Array, one: Set) -> dict[str, Any]:
    """The coefficients that a set has of its own."""
    plain = (
        "efficiency", "expert_efficiency", "cache_efficiency", "launch_s", "launch_without_graph_s", "step_s",
        "expert_batch_s", "expert_overlap", "attention_utilisation",
    )  # fmt: skip
    return {
        "engine": one.engine, "runtime": one.runtime, "since": one.since, "split": one.split,
        "chunk_tokens": one.chunk_tokens,
        **{name: value(problem, theta, name, one) for name in plain},
        "slots": formats(problem, theta, "slots", one),
        "utilisation": formats(problem, theta, "utilisation", one),
        **{
            name: [value(problem, theta, f"{name} {place}", one) for place in (0, 1)]
            for name in ("layer_split_s", "tensor_split_s")
        },
    }  # fmt: skip


def spreads_of(pool: list[Left], wider: tuple[float, float]) -> dict[str, dict[str, float]]:
    """The intervals of each kind that the pool has rows of."""
    found = {}
    for kind in KINDS:
        mine = [one for one in pool if kind_of(one.row) == kind]
        if mine:
            found[kind] = factors(spread(mine, wider))
    return found


def factors(bounds: tuple[float, float]) -> dict[str, float]:
    return {"low": rounded(math.exp(bounds[0])), "high": rounded(math.exp(bounds[1]))}


# -- the run ---------------------------------------------------------------------------------------------------


def run() -> dict[str, Any]:
    """Fit, leave out, write the coefficients, and return what the record holds."""
    rows, skipped = published_speed.rows(published_speed.device, published_speed.model)
    problem = Problem([row for row in rows if set_of(row)])
    theta = fit(problem, *weights(problem.rows))
    unseen = left_out(problem, theta, lambda row: row.device.key)
    models = left_out(problem, theta, lambda row: row.model.name)
    sources = left_out(problem, theta, source_of)
    pools = {name: pool(name, unseen, models) for name in sorted({pool_of(one) for one in problem.sets})}
    wider = tails([one for one in pools["llama.cpp on cuda"] if kind_of(one.row) == "decode"])
    factors_of_devices = {name: shared(problem, theta, name) for name in sorted({one.runtime for one in SETS})}
    records = {}
    for one in SETS:
        if mine := [row for row, its in zip(problem.rows, problem.sets, strict=True) if its == one]:
            records[one.name] = record_of(
                problem, theta, one, rows=mine, pooled=pools[pool_of(one)], wider=wider,
                shared_factors=factors_of_devices[one.runtime],
            )  # fmt: skip
    write(records)
    headline = summary([one for one in unseen if one.row.headline])
    print(f"  headline: {headline}")
    return {
        "headline": headline,
        "headline_sources_left_out": summary([one for one in sources if one.row.headline]),
        "groups": report(pools, wider),
        "rows_left_out": skipped,
        "peers": peers([row for row in problem.rows if row.headline]),
    }


def source_of(row: Row) -> str:
    """Rows of one repository and month were measured by one person, mostly on one machine a device."""
    return f"{row.source.split(':')[0]} {row.month}"


def pool_of(one: Set) -> str:
    return f"{one.engine} on {one.runtime}"


def pool(name: str, unseen: list[Left], models: list[Left]) -> list[Left]:
    """The rows of an engine on a runtime, left out by device, or by model where there are too few devices.

    Rows of which nobody says how llama.cpp was set up count only where there are too few others.
    """
    mine = [one for one in unseen if pool_of(one.one) == name]
    sure = [one for one in mine if not one.row.community]
    for rows in (sure, mine):
        if len(by_device(rows)) >= ENOUGH_DEVICES:
            return rows
    return [one for one in models if pool_of(one.one) == name]


def record_of(
    problem: Problem, theta: Array, one: Set, *, rows: list[Row], pooled: list[Left], wider: tuple[float, float],
    shared_factors: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """One record of the file."""
    main = [left for left in pooled if kind_of(left.row) in ("decode", "depth")] or pooled
    enough = len(by_device(pooled)) >= ENOUGH_DEVICES
    return {
        **coefficients_of(problem, theta, one),
        **shared_factors,
        "spreads": spreads_of(pooled, wider),
        "rows": len(rows), "fitted_devices": len({row.device.key for row in rows}),
        "error": summary(main)["mean_over_devices"], "left_out": "devices" if enough else "models",
        "source": SOURCE, "checked": CHECKED,
    }  # fmt: skip


def write(records: dict[str, dict[str, Any]]) -> None:
    head = (
        "# Written by `python -m benchmarks fit_speed`; what the numbers mean: workbench/catalog/coefficients.py.\n\n"
    )
    text = yaml.safe_dump(records, sort_keys=False, width=118, default_flow_style=None)
    FILE.write_text(head + text, encoding="utf-8")


def report(pools: dict[str, list[Left]], wider: tuple[float, float]) -> dict[str, Any]:
    """Print and return the table of errors and coverages."""
    found = {}
    for name, mine in pools.items():
        for kind in KINDS:
            if rows := [one for one in mine if kind_of(one.row) == kind]:
                enough = len(by_device(mine)) >= ENOUGH_DEVICES
                line = summary(rows) | {"coverage": coverage(rows, wider)}
                line["left_out"] = "devices" if enough else "models"
                found[f"{name}: {kind}"] = line
                print(f"  {name + ': ' + kind:34} " + "  ".join(f"{key} {value}" for key, value in line.items()))
    return found


def peers(rows: list[Row]) -> dict[str, dict[str, float]]:
    """The errors of flat fractions of the bandwidth, as other tools use them, on the rows of the headline."""
    flat = {
        "0.55 × bandwidth ÷ file size": 0.55,
        "0.61 × bandwidth ÷ file size": 0.61,
        "0.80 × bandwidth ÷ file size": 0.80,
    }
    found = {}
    for name, fraction in flat.items():
        errors = defaultdict(list)
        for row in rows:
            speed = fraction * row.device.bandwidth_bytes_per_s / row.model.weight_bytes
            errors[row.device.key].append(abs(speed * row.seconds - 1))
        every = [error for mine in errors.values() for error in mine]
        found[name] = {
            "mean_over_devices": round(float(np.mean([np.mean(mine) for mine in errors.values()])), 4),
            "median_over_rows": round(float(np.median(every)), 4),
        }
        print(f"  {name}: {found[name]}")
    return found
