"""How good a share of passed problems is, and how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean

LEVEL = 0.9


def pass_at(k: int, samples: int, passed: int) -> float:
    """The chance that at least one of `k` answers passes, where `passed` of `samples` did: without bias.

    Chen et al. 2021, Evaluating Large Language Models Trained on Code, equation 1.
    """
    if not 0 <= passed <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} of {samples} answers, {passed} passed")
    return 1 - math.comb(samples - passed, k) / math.comb(samples, k)


def mean_with_interval(shares: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """The mean of one share (0 to 1) per problem, and Wilson's interval for it: value, low, high.

    The interval is over problems: how far the mean would lie from that of all problems like these. With one answer per
    problem the shares are 0 or 1; with several the interval errs on the wide side, because shares between vary less.
    Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    if not shares:
        raise ValueError("there is no problem")
    count, mean, z = len(shares), fmean(shares), NormalDist().inv_cdf((1 + level) / 2)
    spread = 1 + z**2 / count
    centre = (mean + z**2 / (2 * count)) / spread
    half = z * math.sqrt(mean * (1 - mean) / count + z**2 / (4 * count**2)) / spread
    return mean, max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half))
