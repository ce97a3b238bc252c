"""Predicted and measured numbers keep their promises."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.evidence import Basis, Breakdown, Estimate, Measured

BASIS = Basis("a formula", {"x": "1"}, "a book")
sizes = st.floats(1e-6, 1e15)
shares = st.floats(0, 0.99)
samples = st.lists(sizes, min_size=1, max_size=20)


@given(sizes, shares, shares)
def test_a_value_lies_within_its_interval(value: float, below: float, above: float) -> None:
    estimate = Estimate.within(value, "B", BASIS, below, above)
    assert estimate.value == estimate.known() == value
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low <= value <= estimate.high
    assert estimate.low == pytest.approx(value * (1 - below))
    assert estimate.high == pytest.approx(value * (1 + above))


@pytest.mark.parametrize(
    ("value", "low", "high", "reason"),
    [
        (1, 2, 3, ""), (4, 2, 3, ""), (2, 3, 1, ""), (1, None, 2, ""), (1, 0, None, ""),
        (math.nan, 0, 1, ""), (1, -math.inf, 2, ""), (1, 0, math.inf, ""), (1, math.nan, 2, ""),
        (None, None, None, ""), (None, 0, 1, "why"), (None, 0, None, "why"), (None, None, 1, "why"),
    ],
)  # fmt: skip
def test_what_is_no_estimate(value: float | None, low: float | None, high: float | None, reason: str) -> None:
    with pytest.raises(ValueError, match=r"bounds|interval"):
        Estimate(value, low, high, "B", BASIS, reason=reason)


def test_an_unknown_number_has_a_reason_and_stays_unknown() -> None:
    estimate = Estimate.unknown("s", "nobody measured it")
    assert (estimate.value, estimate.low, estimate.high) == (None, None, None)
    assert str(estimate) == "unknown (nobody measured it)"
    assert estimate.rate(10).reason == "nobody measured it"
    assert (estimate.rate(10).value, estimate.rate(10).unit) == (None, "tok/s")
    with pytest.raises(ValueError, match="nobody measured it"):
        estimate.known()


@given(sizes, shares, shares)
def test_an_estimate_survives_being_written_down(value: float, below: float, above: float) -> None:
    estimate = Estimate.within(value, "B", BASIS, below, above)
    assert Estimate.from_dict(json.loads(json.dumps(asdict(estimate)))) == estimate


def test_an_unknown_estimate_survives_being_written_down() -> None:
    estimate = Estimate.unknown("s", "nobody measured it")
    assert Estimate.from_dict(json.loads(json.dumps(asdict(estimate)))) == estimate


def test_the_error_is_signed_and_a_fraction_of_what_was_measured() -> None:
    estimate = Estimate.within(110, "B", BASIS, 0.1, 0.1)
    assert estimate.error(100) == pytest.approx(0.1)
    assert estimate.error(220) == pytest.approx(-0.5)
    assert estimate.error(0) is None
    assert Estimate.unknown("B", "why").error(100) is None


def test_an_interval_holds_its_ends() -> None:
    estimate = Estimate(2, 1, 4, "B", BASIS)
    assert [estimate.contains(measured) for measured in (0.99, 1, 2, 4, 4.01)] == [False, True, True, True, False]
    assert not Estimate.unknown("B", "why").contains(1)


@given(sizes, shares, shares, st.integers(1, 10**6))
def test_seconds_become_a_rate_with_the_bounds_turned_round(
    seconds: float, below: float, above: float, tokens: int
) -> None:
    time = Estimate.within(seconds, "s", BASIS, below, above)
    rate = time.rate(tokens)
    assert rate.unit == "tok/s"
    assert rate.known() == pytest.approx(tokens / seconds)
    assert rate.low == pytest.approx(tokens / (seconds * (1 + above)))
    assert rate.high == pytest.approx(tokens / (seconds * (1 - below)))
    assert (rate.basis, rate.date, rate.level) == (time.basis, time.date, time.level)


@given(st.lists(st.tuples(sizes, shares, shares), min_size=1, max_size=7))
def test_parts_sum_to_the_total(terms: list[tuple[float, float, float]]) -> None:
    parts = {f"part {i}": Estimate.within(v, "B", BASIS, b, a) for i, (v, b, a) in enumerate(terms)}
    total = Breakdown("RAM", parts).total
    for bound in ("value", "low", "high"):
        assert getattr(total, bound) == pytest.approx(sum(getattr(part, bound) for part in parts.values()))
    assert list(total.basis.inputs) == list(parts)
    assert total.unit == "B"


def test_a_total_with_an_unknown_part_is_unknown_and_says_which() -> None:
    parts = {"weights": Estimate.within(1, "B", BASIS, 0, 0), "cache": Estimate.unknown("B", "no shape")}
    assert str(Breakdown("RAM", parts).total) == "unknown (cache: no shape)"


def test_an_estimate_is_printed_with_its_interval() -> None:
    assert str(Estimate.within(100, "tok/s", BASIS, 0.5, 1)) == "100 tok/s (50 tok/s to 200 tok/s)"


@given(samples)
def test_the_value_of_a_measurement_is_the_median_of_its_samples(values: list[float]) -> None:
    measured = Measured(tuple(values), "s", "a clock")
    assert measured.value == statistics.median(values)
    assert (measured.low, measured.high) == (min(values), max(values))
    assert measured.low <= measured.value <= measured.high
    assert measured.samples == tuple(values)


def test_nothing_measured_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        Measured((), "s", "a clock")


def test_one_sample_is_printed_without_a_range() -> None:
    assert str(Measured((2.0,), "cores", "a clock")) == "2 cores"
    assert str(Measured((1.0, 2.0, 4.0), "cores", "a clock")) == "2 cores (1 cores to 4 cores, n=3)"


def test_a_number_without_an_interval_is_told_alone() -> None:
    assert str(Estimate.within(5, "tok/s", BASIS, 0, 0)) == "5 tok/s"
    assert str(Estimate.within(5, "tok/s", BASIS, 0.2, 0)) == "5 tok/s (4 tok/s to 5 tok/s)"
