"""Accelerators: what vendors say of each card and each chip."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class AcceleratorSpec:
    """One accelerator. Rates in bytes/s and FLOP/s; None where no source says."""

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
