"""A predicted number with its interval, its basis and its date."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.units import format_value, today


@dataclass(frozen=True, slots=True)
class Basis:
    """How a number came about.

    method: the formula in words; inputs: what went in, with units in the text;
    source: where the formula or its coefficients come from.
    """

    method: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A prediction: `value` within [`low`, `high`] at confidence `level`, or unknown (`value` None) with a `reason`.

    `unit` is one of B, s, tok/s, USD. An unknown number is never replaced by a default.
    """

    value: float | None
    low: float | None
    high: float | None
    unit: str
    basis: Basis
    date: str = field(default_factory=today)
    level: float = 0.9
    reason: str = ""

    def __post_init__(self) -> None:
        if self.value is None:
            if not self.reason or self.low is not None or self.high is not None:
                raise ValueError("an unknown estimate has a reason and no bounds")
            return
        low, high = self.low, self.high
        if low is None or high is None or not all(map(math.isfinite, (self.value, low, high))):
            raise ValueError(f"a known estimate has finite bounds, got [{low}, {high}]")
        if not low <= self.value <= high:
            raise ValueError(f"{self.value} lies outside its own interval [{low}, {high}]")

    @classmethod
    def unknown(cls, unit: str, reason: str) -> Estimate:
        """A number nobody can give, with the reason."""
        return cls(None, None, None, unit, Basis("unknown"), reason=reason)

    @classmethod
    def within(cls, value: float, unit: str, basis: Basis, below: float, above: float) -> Estimate:
        """An estimate whose interval is `below` and `above`, as fractions of the value."""
        return cls(value, value * (1 - below), value * (1 + above), unit, basis)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Estimate:
        """Read what `dataclasses.asdict` made of an estimate."""
        return cls(**{**data, "basis": Basis(**data["basis"])})

    def error(self, measured: float) -> float | None:
        """The signed error as a fraction of what was measured; None where either is unknown or zero."""
        return None if self.value is None or measured == 0 else (self.value - measured) / measured

    def contains(self, measured: float) -> bool:
        """Whether the interval holds what was measured."""
        return self.low is not None and self.high is not None and self.low <= measured <= self.high

    def rate(self, tokens: int) -> Estimate:
        """Turn an estimate of the seconds for `tokens` tokens into tokens per second."""
        if self.value is None or self.low is None or self.high is None:
            return Estimate.unknown("tok/s", self.reason)
        low, high = tokens / self.high, tokens / self.low
        return Estimate(tokens / self.value, low, high, "tok/s", self.basis, self.date, self.level)

    def plus(self, other: Estimate, times: float = 1.0) -> Estimate:
        """This and `times` the other, of the same unit; unknown if either is. Bounds add up: they err together."""
        if self.value is None or other.value is None:
            return self if self.value is None else other
        value, low, high = (
            (getattr(self, bound) or 0.0) + times * (getattr(other, bound) or 0.0) for bound in ("value", "low", "high")
        )
        inputs = {"one": str(self), "other": f"{times:g} × {other}"}
        return Estimate(value, low, high, self.unit, Basis("a sum", inputs, self.basis.source))

    def known(self) -> float:
        """The value; raises ValueError with the reason when it is unknown."""
        if self.value is None:
            raise ValueError(f"unknown: {self.reason}")
        return self.value

    def __str__(self) -> str:
        if self.value is None or self.low is None or self.high is None:
            return f"unknown ({self.reason})"
        low, high = format_value(self.low, self.unit), format_value(self.high, self.unit)
        if self.low == self.high:
            return low
        return f"{format_value(self.value, self.unit)} ({low} to {high})"


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Predicted memory of one device in named parts (bytes) that sum to the total."""

    device: str
    parts: Mapping[str, Estimate]

    @property
    def total(self) -> Estimate:
        """The sum of the parts; unknown if any part is. Bounds add up: the parts err together."""
        missing = [f"{name}: {part.reason}" for name, part in self.parts.items() if part.value is None]
        if missing:
            return Estimate.unknown("B", "; ".join(missing))
        value, low, high = (
            sum(getattr(part, bound) for part in self.parts.values()) for bound in ("value", "low", "high")
        )
        basis = Basis("sum of the parts", {name: str(part) for name, part in self.parts.items()})
        return Estimate(value, low, high, "B", basis)
