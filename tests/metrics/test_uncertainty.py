"""Bootstrap intervals: their coverage, and the resampling of whole patients."""

from __future__ import annotations

import numpy as np
import pytest

from i2net_bundle.metrics import bootstrap_interval


def test_the_interval_covers_the_true_mean_at_the_nominal_rate() -> None:
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.normal(0.8, 0.1, 30), seed=seed) for seed in range(100)]
    covered = sum(low <= 0.8 <= high for low, high in intervals if (low, high))
    assert 86 <= covered <= 99  # a percentile interval of 30 values covers a little less than 95 %


def test_the_interval_equals_explicit_resampling() -> None:
    values = np.random.default_rng(1).random(12)
    patients = [0, 0, 0, 1, 1, 2, 2, 5, 5, 3, 4, 4]
    rng = np.random.default_rng(2)
    means = []
    for _ in range(20000):
        drawn = [np.flatnonzero(np.array(patients) == patient) for patient in rng.integers(0, 6, 6)]
        means.append(values[np.concatenate(drawn)].mean())
    assert bootstrap_interval(values, patients) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.01)


def test_images_of_one_patient_are_resampled_together() -> None:
    values = np.repeat([0.5, 0.7, 0.9, 0.6, 0.4, 0.8], 10)
    patients = np.repeat(list("abcdef"), 10)
    by_case, by_patient = bootstrap_interval(values), bootstrap_interval(values, patients)
    assert by_case and by_patient
    assert by_patient[1] - by_patient[0] > 2 * (by_case[1] - by_case[0])


def test_undefined_values_are_left_out() -> None:
    values = [0.2, 0.9, 0.5, 0.4, 0.7, 0.3]
    expected = bootstrap_interval(values)
    assert expected is not None
    assert bootstrap_interval([values[0], np.nan, *values[1:]]) == expected
    assert bootstrap_interval([values[0], np.nan, *values[1:]], list("abcdefg")) == expected


@pytest.mark.parametrize(
    ("values", "patients"),
    [
        ([], None),
        ([0.5], None),
        ([0.5, 0.6, 0.7, 0.8, 0.9], None),
        ([0.5, 0.6, 0.7, 0.8, 0.9, np.nan], None),
        ([0.1, 0.9, 0.5, 0.4, 0.7, 0.3], list("abcdee")),
    ],
    ids=["none", "one", "five", "five defined", "five patients"],
)
def test_fewer_than_six_patients_have_no_interval(values: list[float], patients: list[str] | None) -> None:
    assert bootstrap_interval(values, patients) is None


def test_the_interval_is_deterministic() -> None:
    values = np.random.default_rng(3).random(9)
    assert bootstrap_interval(values) == bootstrap_interval(values)
