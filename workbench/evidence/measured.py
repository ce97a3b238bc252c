"""A measured number with every raw sample it came from."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from workbench.units import format_value, now


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured quantity: raw `samples` in `unit`, how they were taken, and when. Its value is their median."""

    samples: tuple[float, ...]
    unit: str
    method: str
    date: str = field(default_factory=now)

    def __post_init__(self) -> None:
        if not self.samples:
            raise ValueError("a measurement has at least one sample")

    @property
    def value(self) -> float:
        """The median of the samples."""
        return statistics.median(self.samples)

    @property
    def low(self) -> float:
        """The smallest sample."""
        return min(self.samples)

    @property
    def high(self) -> float:
        """The largest sample."""
        return max(self.samples)

    def __str__(self) -> str:
        if len(self.samples) == 1:
            return format_value(self.value, self.unit)
        low, high = format_value(self.low, self.unit), format_value(self.high, self.unit)
        return f"{format_value(self.value, self.unit)} ({low} to {high}, n={len(self.samples)})"
