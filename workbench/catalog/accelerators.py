"""Accelerators: what vendors say of each card and each chip."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache

from workbench.catalog.device_names import NOISE, readings
from workbench.catalog.loader import load_table
from workbench.catalog.names import Names
from workbench.errors import AmbiguousName, UnknownName
from workbench.units import GIB, MIB

_GIGA, _TERA = 1e9, 1e12


@dataclass(frozen=True, slots=True)
class AcceleratorSpec:
    """One accelerator, as the driver lists it. Rates in bytes/s and FLOP/s; None where no source says.

    memory_bytes: None for unified memory sold in several sizes. unified: shares the memory of the machine.
    fp16_flops: outside the matrix units; fp16_tensor_flops: matrix units, dense, accumulating in FP32 (GeForce cards do
    that at half their FP16-accumulation rate). compute_capability: "8.6", or AMD's "gfx1100"; price_usd: at launch.
    """

    key: str
    title: str
    vendor: str
    architecture: str
    memory_bytes: int | None
    unified: bool
    memory_type: str
    bandwidth_bytes_per_s: float
    fp32_flops: float | None
    fp16_flops: float | None
    fp16_tensor_flops: float | None
    compute_capability: str
    tdp_w: float | None
    price_usd: float | None
    released: str
    aliases: tuple[str, ...]
    source: str
    checked: date


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of accelerators.csv, in the units of data sheets."""

    key: str
    title: str
    vendor: str
    architecture: str
    memory_mib: int | None
    unified: bool
    memory_type: str
    bandwidth_gb_s: float
    fp32_tflops: float | None
    fp16_tflops: float | None
    fp16_tensor_tflops: float | None
    compute_capability: str
    tdp_w: float | None
    price_usd: float | None
    released: str
    aliases: tuple[str, ...]
    source: str
    checked: date


@cache
def accelerators() -> dict[str, AcceleratorSpec]:
    """Every recorded accelerator by its key."""
    return {key: _spec(row) for key, row in load_table("accelerators.csv", _Row).items()}


def accelerator(text: str, memory_bytes: int | None = None) -> AcceleratorSpec:
    """The accelerator that `text` names, in any spelling; `memory_bytes`, if known, chooses between its versions.

    Raises AmbiguousName where the text leaves open what matters, and UnknownName. A number of cards is not part of a
    name: see `split_count`.
    """
    if text.casefold() in accelerators():
        return accelerators()[text.casefold()]
    for reading in readings(text):
        meant: set[str] = set()
        for name, memory_gb in reading:
            meant |= _meant(name, memory_gb, memory_bytes)
        if len(meant) == 1:
            return accelerators()[meant.pop()]
        if meant:
            raise AmbiguousName("accelerator", text, meant)
    raise UnknownName("accelerator", text, accelerators())


def _meant(name: str, memory_gb: float | None, memory_bytes: int | None) -> set[str]:
    """Keys of the accelerators called `name`, with a size of memory that was said (binding) or seen (a hint)."""
    if memory_gb is not None:
        exact = _names().claims(f"{name} {memory_gb:g}GB")
        return {key for key in exact or _names().claims(name) if _holds(accelerators()[key], memory_gb)}
    plain = _names().claims(name)
    if memory_bytes is None:
        return set(plain)
    seen_gb = memory_bytes / GIB
    versions = plain.union(*(_names().claims(f"{name} {gb}GB") for gb in range(int(seen_gb), int(1.1 * seen_gb) + 2)))
    return {key for key in versions if _holds(accelerators()[key], seen_gb)} or set(plain)


def _holds(spec: AcceleratorSpec, memory_gb: float) -> bool:
    """Whether a card sold with `memory_gb` can be this one: drivers report up to 8 % less, and people quote either."""
    if spec.unified or spec.memory_bytes is None:
        return True
    return abs(spec.memory_bytes / GIB - memory_gb) <= 0.08 * memory_gb


@cache
def _names() -> Names:
    entries = {key: (spec.title, *spec.aliases) for key, spec in accelerators().items()}
    return Names("accelerator", entries, ignore=NOISE)


def _spec(row: _Row) -> AcceleratorSpec:
    return AcceleratorSpec(
        key=row.key, title=row.title, vendor=row.vendor, architecture=row.architecture,
        memory_bytes=None if row.memory_mib is None else row.memory_mib * MIB,
        unified=row.unified, memory_type=row.memory_type, bandwidth_bytes_per_s=row.bandwidth_gb_s * _GIGA,
        fp32_flops=_flops(row.fp32_tflops), fp16_flops=_flops(row.fp16_tflops),
        fp16_tensor_flops=_flops(row.fp16_tensor_tflops), compute_capability=row.compute_capability, tdp_w=row.tdp_w,
        price_usd=row.price_usd, released=row.released, aliases=row.aliases, source=row.source, checked=row.checked,
    )  # fmt: skip


def _flops(tflops: float | None) -> float | None:
    return None if tflops is None else tflops * _TERA
