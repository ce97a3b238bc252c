"""pass@k and its interval, held against counting and against values worked out by hand."""

from __future__ import annotations

import itertools
import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.measurement.code.scores import mean_with_interval, pass_at


@pytest.mark.parametrize(("samples", "passed", "k"), [(5, 2, 1), (5, 2, 3), (6, 1, 2), (4, 4, 2), (4, 0, 3), (3, 1, 3)])
def test_pass_at_k_is_the_share_of_draws_with_a_pass(samples: int, passed: int, k: int) -> None:
    draws = list(itertools.combinations([True] * passed + [False] * (samples - passed), k))
    assert pass_at(k, samples, passed) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(("k", "samples", "passed"), [(0, 1, 1), (2, 1, 0), (1, 1, 2), (1, 0, 0), (1, 3, -1)])
def test_what_cannot_be_asked(k: int, samples: int, passed: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at(k, samples, passed)


@pytest.mark.parametrize(
    ("passed", "of", "low", "high"),
    [
        (0, 40, 0.0, 0.0634),
        (4, 40, 0.0457, 0.2050),
        (20, 40, 0.3741, 0.6259),
        (40, 40, 0.9366, 1.0),
        (1, 1, 0.2699, 1.0),
    ],
)
def test_wilson_s_interval(passed: int, of: int, low: float, high: float) -> None:
    """Worked out with z = 1.6449."""
    found = mean_with_interval([1.0] * passed + [0.0] * (of - passed))
    assert found == (passed / of, pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_the_interval_holds_the_mean_and_narrows_with_more_problems(shares: list[float]) -> None:
    value, low, high = mean_with_interval(shares)
    assert 0 <= low <= value <= high <= 1
    _, lower, higher = mean_with_interval(shares * 4)
    assert higher - lower < high - low


def test_nine_times_in_ten_it_holds_the_truth() -> None:
    """Also with several answers a problem, where it may only be wider than it need be."""
    chance = random.Random(0)
    for answers in (1, 4):
        hits = 0
        for _ in range(400):
            abilities = [chance.betavariate(1, 3) for _ in range(40)]
            shares = [fmean(chance.random() < ability for _ in range(answers)) for ability in abilities]
            _, low, high = mean_with_interval(shares)
            hits += low <= 0.25 <= high
        assert hits / 400 >= 0.87


def test_nothing_has_no_mean() -> None:
    with pytest.raises(ValueError, match="no problem"):
        mean_with_interval([])
