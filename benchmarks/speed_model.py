"""The model of speed as a problem to fit: which factors make up each coefficient, and the fit itself.

Every coefficient is a product of factors: of all runtimes, of one runtime, of one engine there, of its builds since a
month. Each factor has a prior, so a set with few rows stays near its parents. The residuals are logarithms, their
distribution has heavy tails (Student's t), and the fit is a penalized least squares, reweighted and damped. The
arithmetic is that of `workbench.engines.roofline`, on arrays.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

import numpy as np

from benchmarks.published_speed import Row
from workbench.catalog.coefficients import INLINE_ECC, Formats, SpeedCoefficients, family, is_two_dies
from workbench.engines import roofline
from workbench.engines.roofline import Rates, Work

CLASSES = tuple(field.name for field in fields(Formats))
#: Prior of each coefficient: its value for all runtimes, and the spread (log) of the factors of runtime, engine, build.
PRIORS: dict[str, tuple[float, float, float, float, float]] = {
    # name: value, then log spread at the levels: all, runtime, engine, build
    "efficiency": (0.88, 0.08, 0.05, 0.15, 0.08),
    "expert_efficiency": (0.85, 0.15, 0.1, 0.15, 0.1),
    "cache_efficiency": (0.6, 0.2, 0.2, 0.3, 0.2),
    "slots wide": (0.2, 0.8, 0.5, 0.4, 0.2),
    "slots byte": (0.4, 0.8, 0.5, 0.4, 0.2),
    "slots nibble": (0.5, 0.8, 0.5, 0.4, 0.2),
    "slots superblock": (0.8, 0.8, 0.5, 0.4, 0.2),
    "launch_s": (2e-6, 0.5, 0.5, 0.7, 0.5),
    "launch_without_graph_s": (4e-6, 0.5, 0.5, 0.7, 0.3),
    "step_s": (3e-4, 0.7, 0.5, 0.7, 0.2),
    "expert_batch_s": (6e-5, 0.7, 0.3, 0.5, 0.3),
    "expert_overlap": (0.75, 0.15, 0.1, 0.1, 0.1),
    "utilisation wide": (0.4, 0.3, 0.3, 0.3, 0.2),
    "utilisation byte": (0.35, 0.3, 0.3, 0.3, 0.2),
    "utilisation nibble": (0.35, 0.3, 0.3, 0.3, 0.2),
    "utilisation superblock": (0.3, 0.3, 0.3, 0.3, 0.2),
    "attention_utilisation": (0.15, 0.6, 0.5, 0.5, 0.3),
    "layer_split_s 0": (2e-4, 0.7, 0.3, 0.5, 0.3),
    "layer_split_s 1": (2e-4, 0.7, 0.3, 0.5, 0.3),
    "tensor_split_s 0": (2e-5, 0.7, 0.3, 1.0, 0.3),
    "tensor_split_s 1": (5e-6, 0.7, 0.3, 1.0, 0.3),
}
#: Log spread of the factors that belong to devices: of memory types, of architectures.
MEMORY, STACKED_MEMORY, ARCHITECTURE, ARCHITECTURE_SLOTS, ARCHITECTURE_UTILISATION = 0.06, 0.1, 0.04, 0.3, 0.3
ARCHITECTURE_LAUNCH = 0.2
INLINE_ECC_PRIOR, TWO_DIES_PRIOR = (-0.07, 0.05), (-0.1, 0.08)
MEMORY_POWER_PRIOR, MATRIX_POWER_PRIOR = (0.07, 0.03), (0.5, 0.3)
Array = np.ndarray[Any, np.dtype[np.float64]]
#: A factor's place among the parameters, and its exponent.
Factor = tuple[int, float]


@dataclass(frozen=True)
class Set:
    """An engine's builds since a month, on a runtime, with how it splits a model unasked."""

    engine: str
    runtime: str
    since: str
    split: str
    chunk_tokens: float = 512.0

    @property
    def name(self) -> str:
        return f"{self.engine} on {self.runtime}{' since ' + self.since if self.since else ''}"


SETS = (
    Set("llama.cpp", "cuda", "2023-08", "tensor"), Set("llama.cpp", "cuda", "2024-05", "layer"),
    Set("llama.cpp", "cuda", "2025-01", "layer"), Set("llama.cpp", "metal", "2023-08", "layer"),
    Set("llama.cpp", "metal", "2025-01", "layer"),
    Set("llama.cpp", "rocm", "", "layer"), Set("llama.cpp", "vulkan", "", "layer"),
    Set("llamafile", "cuda", "", "layer"), Set("llamafile", "metal", "", "layer"),
    Set("llamafile", "rocm", "", "layer"),
    Set("torch.compile", "xpu", "", "tensor", 131072),
    Set("vLLM", "cuda", "2024-06", "tensor", 8192), Set("vLLM", "cuda", "2024-09", "tensor", 8192),
    Set("SGLang", "cuda", "", "tensor", 8192), Set("TensorRT-LLM", "cuda", "", "tensor", 8192),
    Set("Transformers", "cuda", "", "layer", 131072),
    Set("torch.compile", "cuda", "", "tensor", 131072), Set("ExLlama", "cuda", "", "layer", 2048),
    Set("AutoAWQ", "cuda", "", "layer", 131072),
)  # fmt: skip


def set_of(row: Row) -> Set | None:
    mine = [one for one in SETS if (one.engine, one.runtime) == (row.engine, row.runtime)]
    old_enough = [one for one in mine if one.since <= row.month]
    return (old_enough or mine[:1] or [None])[-1]


class Parameters:
    """Names, priors and spreads of the factors' logarithms; the last index is a constant nought that pads."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        self.prior: list[float] = []
        self.spread: list[float] = []

    def __call__(self, name: str, prior: float, spread: float) -> int:
        if name not in self.index:
            self.index[name] = len(self.prior)
            self.prior.append(prior)
            self.spread.append(spread)
        return self.index[name]


def lineage(p: Parameters, name: str, one: Set) -> list[Factor]:
    """The factors of coefficient `name` for a set, from all runtimes to its own builds."""
    value, *spreads = PRIORS[name]
    levels = ("", one.runtime, f"{one.engine} on {one.runtime}", one.name)
    priors = (math.log(value), 0.0, 0.0, 0.0)
    return [
        (p(f"{name}|{level}", prior, spread), 1.0) for level, prior, spread in zip(levels, priors, spreads, strict=True)
    ]


def of_memory(p: Parameters, memory_type: str) -> list[Factor]:
    """The factor of a type of memory; stacked memory of any type has one in common."""
    stacked = ["HBM"] * memory_type.startswith("HBM")
    return [(p(f"memory|{name}", 0.0, STACKED_MEMORY if stacked else MEMORY), 1.0) for name in (*stacked, memory_type)]


def streaming(p: Parameters, row: Row, one: Set) -> list[Factor]:
    """The factors of the bandwidth that weights reach."""
    device = row.device
    factors = lineage(p, "efficiency", one)
    factors += of_memory(p, device.memory_type)
    factors.append((p(f"architecture|{device.architecture}", 0.0, ARCHITECTURE), 1.0))
    if device.key in INLINE_ECC:
        factors.append((p("inline_ecc", *INLINE_ECC_PRIOR), 1.0))
    if is_two_dies(device):
        factors.append((p("two_dies", *TWO_DIES_PRIOR), 1.0))
    return [*factors, (p("memory_power", *MEMORY_POWER_PRIOR), math.log(roofline.power_of_memory(device)))]


def factors_of(p: Parameters, row: Row, one: Set) -> dict[str, list[Factor]]:
    """The factors of every number of a row's `Rates` but the share."""
    device = row.device
    stream = streaming(p, row, one)
    kind = family(device)
    graphs = (kind is not None and kind.graphs) or device.vendor != "NVIDIA"
    cache = stream + lineage(p, "cache_efficiency", one)
    if one.name.startswith("llama.cpp on cuda since 2025") and not row.flash:
        cache = [*cache, (p("no flash attention", -0.3, 0.3), 1.0)]
    power = math.log(roofline.power_of_compute(device, device.fp32_flops))
    slots = (p(f"architecture_slots|{device.architecture}", 0.0, ARCHITECTURE_SLOTS), 1.0)
    names = [device.architecture] + [device.compute_capability] * (device.vendor == "NVIDIA")
    used = [(p(f"architecture_utilisation|{name}", 0.0, ARCHITECTURE_UTILISATION), 1.0) for name in names]
    used.append((p("matrix_power", *MATRIX_POWER_PRIOR), power))
    launch = (p(f"architecture_launch|{device.architecture}", 0.0, ARCHITECTURE_LAUNCH), 1.0)
    found = {
        "dense_bytes_per_s": stream,
        "expert_bytes_per_s": stream + lineage(p, "expert_efficiency", one),
        "cache_bytes_per_s": cache,
        "attention_s": [*lineage(p, "attention_utilisation", one), *used],
        "kernel_s": [*lineage(p, "launch_s" if graphs else "launch_without_graph_s", one), launch],
        "step_s": lineage(p, "step_s", one),
        "expert_batch_s": lineage(p, "expert_batch_s", one),
        "expert_overlap": lineage(p, "expert_overlap", one),
        "split 0": lineage(p, f"{one.split}_split_s 0", one),
        "split 1": lineage(p, f"{one.split}_split_s 1", one),
    }
    for name in CLASSES:
        found[f"decode_weight_s {name}"] = [*lineage(p, f"slots {name}", one), slots]
        found[f"multiply_s {name}"] = [*lineage(p, f"utilisation {name}", one), *used]
    return found


INVERSE = frozenset({"attention_s", *(f"multiply_s {name}" for name in CLASSES)})


class Problem:
    """The rows as arrays: the base of each rate, and which factors multiply it."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows, self.p = rows, Parameters()
        self.sets = [one for row in rows if (one := set_of(row))]
        found = [factors_of(self.p, row, one) for row, one in zip(rows, self.sets, strict=True)]
        self.fields = list(found[0])
        self.prior, self.spread = np.array(self.p.prior), np.array(self.p.spread)
        width = max(len(one) for each in found for one in each.values())
        pad = len(self.prior)
        none = (pad, 0.0)
        table = {
            name: np.array([each[name] + [none] * (width - len(each[name])) for each in found]) for name in self.fields
        }
        self.where = {name: factors[:, :, 0].astype(int) for name, factors in table.items()}
        self.exponent = {name: factors[:, :, 1] * (-1 if name in INVERSE else 1) for name, factors in table.items()}
        self.base = {name: np.array(values) for name, values in self._bases().items()}
        self.work = _stacked([row.work for row in rows])
        self.tokens, self.answer, self.batch, self.devices, self.start = (
            np.array([float(getattr(row, name)) for row in rows])
            for name in ("tokens", "answer", "batch", "devices", "start")
        )
        tensor = np.array([one.split == "tensor" for one in self.sets])
        self.chunk = np.array([row.chunk or one.chunk_tokens for row, one in zip(rows, self.sets, strict=True)])
        self.share, self.stages = np.where(tensor, 1 / self.devices, 1.0), np.where(tensor, 1.0, self.devices)
        self.what = np.array([row.what for row in rows])
        self.log_seconds = np.log([row.seconds for row in rows])

    def _bases(self) -> dict[str, list[float]]:
        bases: dict[str, list[float]] = {name: [] for name in self.fields}
        for row, one in zip(self.rows, self.sets, strict=True):
            given = roofline.rates(row.device, _unit(one), 1)
            if isinstance(given, str):
                raise SystemExit(given)
            tensor = one.split == "tensor"
            for name in self.fields:
                if name.startswith("split"):
                    many = row.devices > 1
                    value = (row.work.layers if tensor else 1.0) * many
                    value *= 1.0 if name.endswith("0") else row.devices - (not tensor)
                else:
                    attribute, _, kind = name.partition(" ")
                    value = getattr(given, attribute)
                    value = value[CLASSES.index(kind)] if kind else value
                bases[name].append(value)
        return bases

    def predict(self, numbers: dict[str, Array]) -> Array:
        """Logarithm of the seconds of every row from the numbers of its `Rates`."""
        given = Rates(
            **{name: numbers[name] for name in self.fields if " " not in name},
            decode_weight_s=tuple(numbers[f"decode_weight_s {name}"] for name in CLASSES),
            multiply_s=tuple(numbers[f"multiply_s {name}"] for name in CLASSES),
            chunk_tokens=self.chunk,
            share=self.share,
            stages=self.stages,
            split_s=numbers["split 0"] + numbers["split 1"],
        )
        step = roofline.duration_s(self.work, given, self.batch)
        prompt = roofline.prompt_s(self.work, given, np.maximum(self.tokens, 1), self.batch, self.start)
        seconds = np.where(
            self.what == "decode", step, np.where(self.what == "prefill", prompt, prompt + step * self.answer)
        )
        return np.log(seconds)

    def numbers(self, theta: Array) -> dict[str, Array]:
        padded = np.append(theta, 0.0)
        return {
            name: self.base[name] * np.exp((self.exponent[name] * padded[self.where[name]]).sum(axis=1))
            for name in self.fields
        }

    def residuals(self, theta: Array) -> Array:
        return self.predict(self.numbers(theta)) - self.log_seconds

    def linearized(self, theta: Array) -> tuple[Array, Array]:
        """Residuals and their derivatives by the factors, through the derivatives by each rate."""
        numbers = self.numbers(theta)
        here = self.predict(numbers)
        slopes = np.zeros((len(here), len(theta) + 1))
        index = np.arange(len(here))[:, None]
        for name in self.fields:
            step = 1e-5
            slope = (self.predict({**numbers, name: numbers[name] * math.exp(step)}) - here) / step
            np.add.at(slopes, (index, self.where[name]), self.exponent[name] * slope[:, None])
        return here - self.log_seconds, slopes[:, :-1]


def _unit(one: Set) -> SpeedCoefficients:
    """Coefficients of one, so that `rates` gives what a device itself has."""
    ones, nothing = Formats(1, 1, 1, 1), {}
    return SpeedCoefficients(
        name=one.name, engine=one.engine, runtime=one.runtime, since=one.since, split=one.split,
        chunk_tokens=one.chunk_tokens, efficiency=1.0, memory=nothing, architecture=nothing, inline_ecc=1.0,
        two_dies=1.0, memory_power=0.0, matrix_power=0.0, expert_efficiency=1.0, cache_efficiency=1.0, slots=ones,
        architecture_slots=nothing, launch_s=1.0, launch_without_graph_s=1.0, architecture_launch=nothing, step_s=1.0,
        expert_batch_s=1.0, expert_overlap=1.0, utilisation=ones, attention_utilisation=1.0,
        architecture_utilisation=nothing, layer_split_s=(1.0, 1.0), tensor_split_s=(1.0, 1.0), spreads={}, rows=0,
        fitted_devices=0, error=0.0, left_out="", source="", checked=date(2026, 11, 24),
    )  # fmt: skip


def _stacked(works: list[Work]) -> Work:
    """One `Work` whose numbers are arrays, one element a row."""
    columns: dict[str, Any] = {}
    for field in fields(Work):
        values = [getattr(work, field.name) for work in works]
        columns[field.name] = (
            tuple(np.array(v, float) for v in zip(*values, strict=True))
            if isinstance(values[0], tuple)
            else np.array(values, float)
        )
    return Work(**columns)


def weights(rows: list[Row]) -> tuple[Array, Array]:
    """How much each row counts, and the spread (log) expected of its residual.

    A device's rows share the weight of the root of their number: they err together.
    """
    counts = Counter((row.device.key, row.engine, row.what, row.group) for row in rows)
    weight = np.array([counts[(r.device.key, r.engine, r.what, r.group)] ** -0.5 * _trust(r) for r in rows])
    scale = np.array([0.05 if r.headline else 0.1 if r.what == "prefill" else 0.08 for r in rows])
    return weight, scale


def _trust(row: Row) -> float:
    if row.headline:
        return 1.0
    if row.engine == "llamafile":
        return 0.15
    return 0.3 if (row.engine == "llama.cpp" and row.group == "decode") or row.what == "prefill" else 0.5


FREEDOM = 3.0  # of Student's t


def fit(problem: Problem, weight: Array, scale: Array, start: Array | None = None, rounds: int = 40) -> Array:
    """The factors' logarithms at the least cost: damped Gauss-Newton steps, reweighted for the heavy tails."""
    theta = problem.prior.copy() if start is None else start.copy()
    penalty, damping = 1 / problem.spread**2, 1e-3

    def cost(theta: Array) -> float:
        r = problem.residuals(theta) / scale
        return float(
            (weight * (FREEDOM + 1) / 2 * np.log1p(r**2 / FREEDOM)).sum()
            + 0.5 * (penalty * (theta - problem.prior) ** 2).sum()
        )

    now = cost(theta)
    for _ in range(rounds):
        r, slopes = problem.linearized(theta)
        w = weight * (FREEDOM + 1) / (FREEDOM + (r / scale) ** 2) / scale**2
        keep = w > 0
        slopes, r, w = slopes[keep], r[keep], w[keep]
        hessian = slopes.T @ (slopes * w[:, None]) + np.diag(penalty)
        gradient = slopes.T @ (w * r) + penalty * (theta - problem.prior)
        before = now
        for _ in range(8):
            trial = theta - np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
            if (new := cost(trial)) < now:
                theta, now, damping = trial, new, max(damping / 5, 1e-9)
                break
            damping *= 5
        if before - now < 1e-5 * abs(before):
            break
    return theta
