"""Correction of p-values for the number of comparisons."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values by Holm's step-down method, which bounds the probability of any false positive.

    The i-th smallest of m values is multiplied by m - i + 1, and no adjusted value is below one of a smaller value
    (Holm 1979).

    Args:
        p_values: p of every test of the family; None for a comparison without a test, which does not count.

    Returns:
        adjusted values in the same order, at most 1.

    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        adjusted[index] = largest
    return adjusted
