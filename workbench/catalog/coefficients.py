"""Coefficients of speed: what published measurements say of engines and of families of devices.

One record of `speed_coefficients.yaml` holds everything needed to predict one engine on one kind of device, for the
builds since a month. The records are fitted by `python -m benchmarks fit_speed` and never edited by hand. What the
numbers multiply is written in `workbench.engines.roofline`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache

from workbench.catalog.accelerators import AcceleratorSpec
from workbench.catalog.loader import load
from workbench.errors import UnknownName


@dataclass(frozen=True, slots=True)
class Spread:
    """Where 90 % of the measurements lay, as factors of what had been predicted."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Formats:
    """One number per class of weight format: 16 bits and more; 8 bits; 4 to 6 bits in plain blocks; K- and I-quants."""

    wide: float
    byte: float
    nibble: float
    superblock: float


@dataclass(frozen=True, slots=True)
class SpeedCoefficients:
    """One engine on one runtime, for builds since `since` (a month; empty: all builds that a record knows).

    efficiency: fraction of the memory bandwidth that streaming weights reaches, times the factors of the device's
    memory type and architecture, of error correction inside the memory (inline_ecc) and of a chip made of two
    (two_dies); expert_efficiency: the same for gathered experts, on top; cache_efficiency: for the cache, on top.
    memory_power, matrix_power: exponents of the board's power over what is usual for its memory and for its FP32 rate,
    for streaming and for prompts: cards held to little power run below their clocks.
    slots: issue slots of a multiprocessor to decode one weight, times the factor of the architecture.
    launch_s: time between two kernels where they are replayed as a graph, and where each is launched, times the factor
    of the architecture; step_s: once a step. expert_batch_s: per expert layer once several sequences go together;
    expert_overlap: b sequences choose experts as b ** expert_overlap independent ones would.
    utilisation: fraction of the matrix FLOP/s that a prompt reaches by weight format, times the factors of the
    architecture and of the compute capability; attention_utilisation: the same for attention; chunk_tokens: tokens of a
    prompt that are processed at once.
    layer_split_s: once, and per further device, when layers are dealt out; tensor_split_s: per layer, and per layer and
    device, when every layer is split. split: what the engine does unasked.
    spreads: by kind of prediction: decode, depth, experts, batch, devices, prefill.
    error: mean over devices of the error of decode speed, each device or model (`left_out`) unseen by the fit.
    """

    name: str
    engine: str
    runtime: str
    since: str
    split: str
    chunk_tokens: float
    efficiency: float
    memory: dict[str, float]
    architecture: dict[str, float]
    inline_ecc: float
    two_dies: float
    memory_power: float
    matrix_power: float
    expert_efficiency: float
    cache_efficiency: float
    slots: Formats
    architecture_slots: dict[str, float]
    launch_s: float
    launch_without_graph_s: float
    architecture_launch: dict[str, float]
    step_s: float
    expert_batch_s: float
    expert_overlap: float
    utilisation: Formats
    attention_utilisation: float
    architecture_utilisation: dict[str, float]
    layer_split_s: tuple[float, ...]
    tensor_split_s: tuple[float, ...]
    spreads: dict[str, Spread]
    rows: int
    fitted_devices: int
    error: float
    left_out: str
    source: str
    checked: date


@cache
def speed_coefficients() -> dict[str, SpeedCoefficients]:
    """Every record by its name."""
    return load("speed_coefficients.yaml", SpeedCoefficients)


def coefficients(engine: str, runtime: str, month: str = "") -> SpeedCoefficients:
    """The record for builds of `month` (like 2024-05); the newest when not given. Raises UnknownName."""
    records = [one for one in speed_coefficients().values() if (one.engine, one.runtime) == (engine, runtime)]
    if not records:
        known = {f"{one.engine} on {one.runtime}" for one in speed_coefficients().values()}
        raise UnknownName("set of speed coefficients", f"{engine} on {runtime}", known)
    records.sort(key=lambda one: one.since)
    old_enough = [one for one in records if not month or one.since <= month]
    return (old_enough or records[:1])[-1]


@dataclass(frozen=True, slots=True)
class Family:
    """What devices of one compute capability share: FP32 lanes of a multiprocessor, and how many times the FP32 rate
    its matrix units reach in 16 bits; graphs: whether kernels can be replayed as a graph there."""

    lanes: int
    matrix_ratio: float
    graphs: bool = False


# Sources: NVIDIA's architecture whitepapers (Maxwell to Blackwell) and the CUDA programming guide's table of arithmetic
# throughput; llama.cpp replays graphs from compute capability 8.0 on.
_NVIDIA = {
    "5.2": Family(128, 1), "5.3": Family(128, 2), "6.0": Family(64, 2), "6.1": Family(128, 1), "6.2": Family(128, 2),
    "7.0": Family(64, 8), "7.2": Family(64, 8), "7.5": Family(64, 8), "8.0": Family(64, 16, True),
    "8.6": Family(128, 4, True), "8.7": Family(128, 8, True), "8.9": Family(128, 4, True),
    "9.0": Family(128, 14.8, True), "10.0": Family(128, 30, True), "10.3": Family(128, 30, True),
    "11.0": Family(128, 30, True), "12.0": Family(128, 4, True), "12.1": Family(128, 4, True),
}  # fmt: skip
# AMD's whitepapers of GCN, RDNA and CDNA, Intel's of Xe; Apple's GPUs multiply matrices at their FP32 rate. The first
# name that an architecture begins with counts.
_MATRIX_RATIO = {
    "CDNA 4": 16, "CDNA 3": 16, "CDNA": 8, "RDNA 4": 4, "RDNA": 2, "GCN 4": 1, "GCN": 2, "Xe-HPC": 16, "Xe": 8,
    "Apple": 1,
}  # fmt: skip
#: NVIDIA's cards with GDDR6 whose error correction is on unless switched off; it takes its bits from the same memory.
INLINE_ECC = frozenset({"t4", "a2", "a10", "a10g", "a16", "a40", "l4", "l40", "l40s"})


def family(device: AcceleratorSpec) -> Family | None:
    """The family of a device; None when nobody wrote it down."""
    if device.vendor == "NVIDIA":
        return _NVIDIA.get(device.compute_capability)
    names = (name for name in _MATRIX_RATIO if device.architecture.startswith(name))
    name = next(names, None)
    return None if name is None else Family(128, _MATRIX_RATIO[name])


def is_two_dies(device: AcceleratorSpec) -> bool:
    """Whether the chip is two joined ones, each with half of the memory: Apple's Ultra."""
    return device.vendor == "Apple" and "-ultra-" in device.key
