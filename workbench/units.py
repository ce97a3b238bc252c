"""Units: bytes, tokens, seconds and money as people read them.

Inside the package bytes are `int`, money is `Decimal`, and names carry their unit
(`_bytes`, `_s`, `_tok_per_s`, `_usd`). Only what is printed goes through here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

KIB, MIB, GIB = 2**10, 2**20, 2**30

_BINARY = ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"))


def format_bytes(count: float) -> str:
    """Format a byte count with binary units: 1536 → '1.5 KiB'."""
    for size, unit in _BINARY:
        if abs(count) >= size:
            scaled = count / size
            return f"{scaled:.0f} {unit}" if abs(scaled) >= 100 else f"{scaled:.3g} {unit}"
    return f"{count:.0f} B"


def format_value(value: float, unit: str) -> str:
    """Format a value for a reader; `unit` is one of B, s, tok/s, USD, ratio or any other word."""
    if unit == "B":
        return format_bytes(value)
    if unit == "s" and abs(value) < 1:
        value, unit = value * 1e3, "ms"
    number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return number if unit == "ratio" else f"{number} {unit}"


def format_usd(amount: Decimal) -> str:
    """Format money with two digits that count, and cents above a dollar: 0.00042 → '$0.00042', 12.5 → '$12.50'."""
    if amount and abs(amount) < 1:
        digits = 1 - amount.adjusted()
        return f"${amount:.{digits}f}"
    return f"${amount:,.2f}"


def now() -> str:
    """The present moment in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def today() -> str:
    """Today's date in UTC, ISO 8601."""
    return now()[:10]
