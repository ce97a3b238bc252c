"""Numbers as people read them."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workbench.units import GIB, KIB, MIB, format_bytes, format_usd, format_value, now, today


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (KIB, "1 KiB"), (1536, "1.5 KiB"), (MIB, "1 MiB"),
        (98_362_432, "93.8 MiB"), (512 * MIB, "512 MiB"), (GIB, "1 GiB"), (141 * GIB, "141 GiB"), (-1536, "-1.5 KiB"),
    ],
)  # fmt: skip
def test_bytes(count: int, text: str) -> None:
    assert format_bytes(count) == text


@given(st.integers(0, 2**50))
def test_bytes_read_back_within_half_a_percent(count: int) -> None:
    number, unit = format_bytes(count).split()
    size = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}[unit]
    assert abs(float(number) * size - count) <= 0.005 * count


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1536, "B", "1.5 KiB"), (0.0421, "s", "42.1 ms"), (0, "s", "0 ms"), (1.5, "s", "1.5 s"),
        (231.4, "tok/s", "231 tok/s"), (2240.4, "tok/s", "2,240 tok/s"), (0.5, "cores", "0.5 cores"),
    ],
)  # fmt: skip
def test_values(value: float, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


@given(st.floats(1e-3, 1e4), st.sampled_from(["B", "s", "tok/s", "cores"]))
@example(999.7, "tok/s")
@example(0.9997, "s")
def test_nobody_reads_powers_of_ten(value: float, unit: str) -> None:
    assert not re.search(r"\de[+-]?\d", format_value(value, unit))


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.00"), ("12.5", "$12.50"), ("1", "$1.00"), ("0.999", "$1.00"), ("0.6", "$0.60"), ("0.026", "$0.026"),
        ("0.01", "$0.010"), ("0.0099", "$0.0099"), ("0.00042", "$0.00042"), ("1234567.891", "$1,234,567.89"),
    ],
)  # fmt: skip
def test_money(amount: str, text: str) -> None:
    assert format_usd(Decimal(amount)) == text


@given(st.decimals("0.000001", "1000000", places=12))
def test_money_is_never_shown_as_nothing(amount: Decimal) -> None:
    shown = Decimal(format_usd(amount).removeprefix("$").replace(",", ""))
    assert abs(shown - amount) <= min(amount * Decimal("0.5"), Decimal("0.005"))
    assert shown > 0


def test_moments_are_in_utc_and_to_the_second() -> None:
    moment = datetime.fromisoformat(now())
    assert moment.utcoffset() == timedelta(0)
    assert moment.microsecond == 0
    assert abs(date.fromisoformat(today()) - moment.date()) <= timedelta(days=1)
