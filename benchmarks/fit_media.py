"""Fits the coefficients of images and speech to the published rows, and says how well others are predicted.

Writes `workbench/catalog/image_coefficients.yaml` and `speech_coefficients.yaml`. Every coefficient has a prior,
as there are few devices; the prior is what predicts a device whose like was not measured. The arithmetic is that of
`workbench.engines.diffusion` and `whisper`, called with candidate coefficients. Errors and intervals of speed come
from rows whose device the fit had not seen; memory is arithmetic, so its errors are of all rows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

import workbench
from benchmarks import media_memory, published_media
from benchmarks.published_media import BATCH, ImageRow, SpeechRow
from workbench.catalog.media_coefficients import ImageCoefficients, SpeechCoefficients
from workbench.engines import diffusion, whisper

CATALOG = Path(workbench.__file__).parent / "catalog"
CHECKED = date(2026, 11, 24)
HEAD = (
    "# Written by `python -m benchmarks fit_media`; what the numbers mean: workbench/catalog/media_coefficients.py.\n\n"
)
SOURCE = "python -m benchmarks fit_media, on benchmarks/published/{} (each row names its source)"
#: Prior of each coefficient: its value, and the log of the factor by which it may well be off. Products of matrices
#: are known to reach nine tenths of the FP32 rate, and of the matrix units' rate what half of them can be fed with.
IMAGE_PRIORS = {
    "wide": (0.5, 0.4), "narrow": (0.75, 0.3), "float32": (0.8, 0.3), "bandwidth_efficiency": (0.8, 0.05),
    "kernel_s": (6e-6, 0.7), "host_s": (5e-5, 0.4), "compiled_host_s": (2e-5, 0.4), "compiled_traffic": (0.6, 0.4),
    "convolution_cost": (1.2, 0.3), "flash": (40.0, 0.5), "memory-efficient": (80.0, 0.5),
}  # fmt: skip
SPEECH_PRIORS = {
    "utilisation": (0.45, 0.4), "frame_bytes": (100.0, 0.7), "encoder_layer_s": (3e-5, 1.0), "encoder_s": (3e-4, 1.0),
    "score_bytes": (24.0, 0.7), "bandwidth_efficiency": (0.8, 0.2), "cache_efficiency": (0.8, 0.3),
    "shared_sound": (0.3, 0.8), "unfused_cache": (2.0, 0.4), "decoder_layer_s": (6e-5, 0.7),
    "batch_layer_s": (3e-5, 0.7), "step_s": (1e-4, 1.0),
}  # fmt: skip
#: Log spread between measurements of one device that the fit need not explain.
NOISE = 0.1
#: Tails of the intervals, and the least half of one (log).
TAIL, LEAST = 0.05, 0.05
#: Engines of which nobody published seconds on a device: whose coefficients they borrow, what is known to differ, and
#: by how much more they may be off. PyTorch's host needs 0.22 ms for a layer and 4 ms a step (measured, 2026-11-24).
BORROWED: dict[str, tuple[dict[str, float], float, str]] = {
    "faster-whisper": ({}, 1.6, "borrowed from whisper.cpp: nobody published seconds per step of faster-whisper"),
    "openai-whisper": (
        {"encoder_layer_s": 1.5e-4, "decoder_layer_s": 3e-4, "step_s": 4e-3, "shared_sound": 1.0}, 2.0,
        "borrowed from whisper.cpp, with the host's time measured on PyTorch's side: nobody published seconds per step",
    ),
}  # fmt: skip

Row = TypeVar("Row", ImageRow, SpeechRow)
Numbers = Mapping[str, float]
#: Measured over predicted (log), by device.
Logs = Mapping[str, list[float]]
Predicted = Callable[[Sequence[Row], Numbers], list[float]]


def minimised(residuals: Callable[[np.ndarray], np.ndarray], start: np.ndarray, rounds: int = 60) -> np.ndarray:
    """The least squares by Levenberg's and Marquardt's method, with differences for derivatives."""
    here, damping, step = start.copy(), 1e-2, 1e-5
    errors = residuals(here)
    for _ in range(rounds):
        slopes = np.stack([(residuals(here + step * unit) - errors) / step for unit in np.eye(len(here))], axis=1)
        square = slopes.T @ slopes
        move = np.linalg.solve(square + damping * np.diag(np.diag(square) + 1e-9), -slopes.T @ errors)
        found = residuals(here + move)
        if found @ found < errors @ errors:
            here, errors, damping = here + move, found, max(damping / 3, 1e-9)
        else:
            damping *= 4
    return here


def fit(
    rows: Sequence[Row], priors: Mapping[str, tuple[float, float]], seconds: Callable[[Row, Numbers], float]
) -> Numbers:
    """The coefficients by name. Every device and setting counts the same, however many rows it has."""
    groups: dict[tuple[str, str, str], int] = defaultdict(int)
    for row in rows:
        groups[group_of(row)] += 1
    weights = np.array([1 / math.sqrt(groups[group_of(row)]) for row in rows]) * 2 / NOISE
    measured = np.array([row.seconds for row in rows])
    first = np.log([value for value, _ in priors.values()])
    spread = np.array([width for _, width in priors.values()])

    def residuals(theta: np.ndarray) -> np.ndarray:
        numbers = dict(zip(priors, np.exp(theta), strict=True))
        errors = np.log(np.array(seconds(rows, numbers)) / measured)
        return np.concatenate([weights * errors, (theta - first) / spread])

    return dict(zip(priors, map(float, np.exp(minimised(residuals, first))), strict=True))


def group_of(row: ImageRow | SpeechRow) -> tuple[str, str, str]:
    if isinstance(row, ImageRow):
        return row.device.key, row.model, f"{row.kind} {row.setting}"
    return row.device.key, row.kind, str(row.fused)


def left_out(
    rows: Sequence[Row], priors: Mapping[str, tuple[float, float]], seconds: Predicted[Row]
) -> list[tuple[Row, float]]:
    """Every row with the log of measured over predicted, by a fit that had not seen its device."""
    found = []
    for key in sorted({row.device.key for row in rows}):
        numbers = fit([row for row in rows if row.device.key != key], priors, seconds)
        mine = [row for row in rows if row.device.key == key]
        found += [(row, math.log(row.seconds / one)) for row, one in zip(mine, seconds(mine, numbers), strict=True)]
    return found


def summary(pairs: Sequence[tuple[Row, float]], pool: Sequence[tuple[Row, float]] = ()) -> dict[str, Any]:
    """Errors of the predicted time as fractions of the measured one, and how many rows others' intervals hold.

    pool: rows of all kinds, whose interval is held as well.
    """
    devices, wider = by_device(pairs), by_device(pool)
    errors = {key: np.abs(np.expm1(-np.array(logs))) for key, logs in devices.items()}
    every = np.concatenate(list(errors.values()))
    return {
        "rows": len(pairs), "devices": len(devices),
        "mean_over_devices": rounded(float(np.mean([np.mean(mine) for mine in errors.values()]))),
        "median": rounded(float(np.median(every))), "p95": rounded(float(np.quantile(every, 0.95))),
        "in_interval": rounded(float(np.mean([inside(devices, wider, key) for key in devices]))),
        "mean_by_device": {key: rounded(float(np.mean(mine))) for key, mine in errors.items()},
    }  # fmt: skip


def inside(devices: Logs, wider: Logs, key: str) -> float:
    """The fraction of a device's rows that lie in the interval which the other devices give."""
    low, high = hull(*({other: logs for other, logs in one.items() if other != key} for one in (devices, wider)))
    return float(np.mean([low <= log <= high for log in devices[key]]))


def by_device(pairs: Sequence[tuple[Row, float]]) -> Logs:
    groups: dict[str, list[float]] = defaultdict(list)
    for row, log in pairs:
        groups[row.device.key].append(log)
    return dict(sorted(groups.items()))


def bounds(devices: Logs) -> tuple[float, float]:
    """The interval (log) that most measurements lay in, drawn out the more the fewer devices there are."""
    logs, drawn_out = [log for mine in devices.values() for log in mine], 1 + 1 / len(devices)
    low, high = float(np.quantile(logs, TAIL)), float(np.quantile(logs, 1 - TAIL))
    return min(low, -LEAST) * drawn_out, max(high, LEAST) * drawn_out


def hull(*kinds: Logs) -> tuple[float, float]:
    """The interval that holds those of several kinds of predictions."""
    found = [bounds(kind) for kind in kinds if kind]
    return min(low for low, _ in found), max(high for _, high in found)


def spread(pairs: Sequence[tuple[Row, float]], pool: Sequence[tuple[Row, float]] = ()) -> dict[str, float]:
    low, high = hull(by_device(pairs), by_device(pool))
    return {"low": rounded(math.exp(low)), "high": rounded(math.exp(high))}


def rounded(number: float) -> float:
    return float(f"{number:.4g}")


# -- images ----------------------------------------------------------------------------------------------------


def image_seconds(rows: Sequence[ImageRow], numbers: Numbers) -> list[float]:
    c = image_record(numbers)
    return [
        sum(
            term.times * diffusion.seconds(term.work, row.device, c, float32=term.float32, compiled=term.compiled)
            for term in row.terms
        )
        for row in rows
    ]


WATT_FLOPS = {
    card.architecture: rounded(rate / (card.tdp_w or math.inf)) for card, rate in published_media.sustained_flops()
}


def image_record(numbers: Numbers, **rest: Any) -> ImageCoefficients:
    """The candidate as a record; what the arithmetic of speed does not use is empty."""
    names = {field.name for field in fields(ImageCoefficients)}
    given = {
        "name": "", "engine": "diffusers", "runtime": "cuda", "offload_s_per_byte": 0.0, "workspace": {},
        "architectures": (), "spreads": {}, "rows": 0, "fitted_devices": 0, "error": 0.0, "source": "",
        "checked": CHECKED, "watt_flops": WATT_FLOPS,
        "utilisation": {kind: numbers[kind] for kind in ("wide", "narrow", "float32")},
        "score_flops": {kernel: numbers[kernel] for kernel in ("flash", "memory-efficient")},
        **{name: value for name, value in numbers.items() if name in names},
    }  # fmt: skip
    return ImageCoefficients(**{**given, **rest})


def images() -> dict[str, Any]:
    """Fit Diffusers and write its record; returns the table of errors."""
    rows, skipped = published_media.image_rows()
    numbers = {name: rounded(value) for name, value in fit(rows, IMAGE_PRIORS, image_seconds).items()}
    unseen = left_out(rows, IMAGE_PRIORS, image_seconds)
    kinds = {kind: [pair for pair in unseen if pair[0].kind == kind] for kind in ("step", "vae", "image")}
    table = {kind: summary(pairs) for kind, pairs in kinds.items()} | {"all": summary(unseen)}
    medians = [float(np.median(logs)) for logs in by_device(unseen).values()]
    worst = max(abs(one) for one in medians)
    c = image_record(numbers)
    record = {
        "engine": c.engine, "runtime": c.runtime, "utilisation": dict(c.utilisation), "watt_flops": WATT_FLOPS,
        "score_flops": dict(c.score_flops),
        **{name: numbers[name] for name in IMAGE_PRIORS if name not in {*c.utilisation, *c.score_flops}},
        "offload_s_per_byte": offload_s_per_byte(), "workspace": media_memory.workspaces(),
        "architectures": sorted({row.device.architecture for row in rows}),
        "spreads": {
            "step": spread(kinds["step"]), "image": spread(unseen),
            "elsewhere": {"low": rounded(math.exp(-worst / 2)), "high": rounded(math.exp(worst / 2))},
        },
        "rows": len(rows), "fitted_devices": len({row.device.key for row in rows}),
        "error": table["all"]["mean_over_devices"], "source": SOURCE.format("diffusion_speed.csv"), "checked": CHECKED,
    }  # fmt: skip
    write("image_coefficients.yaml", {"diffusers on cuda": record})
    return {"speed": table, "rows_left_out": dict(skipped)}


def offload_s_per_byte() -> float:
    """What moving the weights in and out cost SDXL on an A100: with model offload, less without."""
    seconds = {row["precision"]: float(row["value"]) for row in published_media.rows("diffusion_speed.csv")
               if row["device"] == "NVIDIA A100 40GB"}  # fmt: skip
    moved = published_media.image_model("SDXL").weight_bytes
    return rounded((seconds["fp16 + model CPU offload"] - seconds["fp16 + SDPA"]) / moved)


# -- speech ----------------------------------------------------------------------------------------------------


def speech_seconds(rows: Sequence[SpeechRow], numbers: Numbers) -> list[float]:
    c = SpeechCoefficients(
        name="", engine="whisper.cpp", runtime="", spreads={}, rows=0, fitted_devices=0, source="", checked=CHECKED,
        **numbers,
    )  # fmt: skip
    return [
        whisper.encoder_seconds(row.model, row.device, c, fused=row.fused)
        if row.kind == "encoder"
        else whisper.step_seconds(row.model, row.device, c, BATCH if row.kind == "batch" else 1, fused=row.fused)
        for row in rows
    ]


def voices() -> dict[str, Any]:
    """Fit whisper.cpp on both runtimes, borrow for the others, write the records; returns the tables of errors."""
    every, skipped = published_media.speech_rows()
    records, tables = {}, {}
    for vendor, runtime in (("NVIDIA", "cuda"), ("Apple", "metal")):
        rows = [row for row in every if row.device.vendor == vendor]
        numbers = {name: rounded(value) for name, value in fit(rows, SPEECH_PRIORS, speech_seconds).items()}
        unseen = left_out(rows, SPEECH_PRIORS, speech_seconds)
        kinds = {kind: [pair for pair in unseen if pair[0].kind == kind] for kind in ("encoder", "step", "batch")}
        table = {kind: summary(pairs, unseen) for kind, pairs in kinds.items()} | {"all": summary(unseen)}
        tables[runtime] = table
        records[f"whisper.cpp on {runtime}"] = {
            "engine": "whisper.cpp", "runtime": runtime, **numbers,
            "spreads": {kind: spread(pairs, unseen) for kind, pairs in kinds.items()},
            "rows": len(rows), "fitted_devices": len({row.device.key for row in rows}),
            "error": table["all"]["mean_over_devices"], "source": SOURCE.format("whisper_speed.csv"),
            "checked": CHECKED,
        }  # fmt: skip
    for engine, (known, wider, why) in BORROWED.items():
        records[f"{engine} on cuda"] = borrowed(engine, records["whisper.cpp on cuda"], known, wider, why)
    write("speech_coefficients.yaml", records)
    return {"speed": tables, "rows_left_out": dict(skipped)}


def borrowed(engine: str, lender: Mapping[str, Any], known: Numbers, wider: float, why: str) -> dict[str, Any]:
    """A record for an engine without measurements: another's numbers, and wider intervals."""
    spreads = {
        kind: {"low": rounded(bound["low"] / wider), "high": rounded(bound["high"] * wider)}
        for kind, bound in lender["spreads"].items()
    }
    kept = {name: value for name, value in lender.items() if name != "error"}
    return {**kept, "engine": engine, **known, "spreads": spreads, "rows": 0, "fitted_devices": 0, "source": why}


# -- the run ---------------------------------------------------------------------------------------------------


class _Plain(yaml.SafeDumper):
    """Writes everything out where it stands."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def write(file: str, records: Mapping[str, Any]) -> None:
    text = yaml.dump(dict(records), Dumper=_Plain, sort_keys=False, width=118, allow_unicode=True)
    (CATALOG / file).write_text(HEAD + text, encoding="utf-8")


def run() -> dict[str, Any]:
    """Fit, leave out, write the coefficients, and return what the record holds."""
    result = {"images": images(), "speech": voices()}
    result["images"]["memory"] = media_memory.of_images()
    result["speech"]["memory"] = media_memory.of_speech()
    for what, found in result.items():
        tables = found["speed"] if what == "speech" else {"diffusers on cuda": found["speed"]}
        for runtime, table in tables.items():
            for kind, line in table.items():
                print(f"  {what} {runtime} {kind:8} " + "  ".join(f"{k} {v}" for k, v in line.items()))
        for kind, line in found["memory"].items():
            print(f"  memory: {kind:34} " + "  ".join(f"{k} {v}" for k, v in line.items() if k != "worst"))
    return result
