"""Bootstrap confidence intervals of a mean, which resample whole patients."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.stats import bootstrap

RESAMPLES = 9999
FEWEST = 6
"""Fewest patients of an interval: resampling fewer gives intervals that are far too narrow."""


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap confidence interval of the mean.

    Cases of one patient are correlated, so resampling single cases would understate the uncertainty.

    Args:
        values: one value per case; NaN is left out.
        groups: patient of every case, whose cases are resampled together; by default every case is its own patient.
        confidence: 0 to 1.
        seed: seed of the resampling.

    Returns:
        lower and upper bound; None with fewer than `FEWEST` patients.

    >>> bootstrap_interval([0.5] * 6)
    (0.5, 0.5)
    """
    numbers = np.asarray(values, np.float64)
    defined = np.isfinite(numbers)
    members = np.arange(len(numbers)) if groups is None else np.unique([str(g) for g in groups], return_inverse=True)[1]
    patients, members = np.unique(members[defined], return_inverse=True)
    if len(patients) < FEWEST:
        return None
    sums = np.bincount(members, numbers[defined])
    counts = np.bincount(members)
    if np.ptp(numbers[defined]) == 0:
        return float(numbers[defined][0]), float(numbers[defined][0])

    def mean(sums: np.ndarray, counts: np.ndarray, axis: int) -> np.ndarray:
        return sums.sum(axis=axis) / counts.sum(axis=axis)

    interval = bootstrap(
        (sums, counts),
        mean,
        n_resamples=RESAMPLES,
        batch=1000,
        paired=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
