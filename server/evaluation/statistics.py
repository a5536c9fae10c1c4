"""Means of scores with their uncertainty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000
LEVEL = 0.95


def interval(values: list[float]) -> tuple[float, float] | None:
    """The 95% interval of the mean by the percentile bootstrap (B. Efron, "Bootstrap methods: another look at
    the jackknife", 1979), the same for the same values; None of fewer than two."""
    if len(values) < 2:
        return None
    drawn: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    places = np.random.default_rng(0).integers(0, len(drawn), (RESAMPLES, len(drawn)))
    means = drawn[places].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def share_interval(passed: int, count: int) -> tuple[float, float] | None:
    """The 95% interval of a share by E. B. Wilson's score (J. Am. Stat. Assoc. 22, 1927); None of nothing."""
    if not count:
        return None
    z = 1.959964
    share, shift = passed / count, z * z / count
    middle = (share + shift / 2) / (1 + shift)
    half = z / (1 + shift) * (share * (1 - share) / count + shift / (4 * count)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)
