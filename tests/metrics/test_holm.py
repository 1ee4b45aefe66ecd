"""Holm's correction, by hand."""

from __future__ import annotations

import pytest

from i2net_bundle.metrics.holm import holm


def test_each_p_is_multiplied_by_the_tests_that_are_left_and_never_decreases() -> None:
    # sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2 = 0.06, 0.04 x 1 -> 0.06
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_no_p_exceeds_1_and_a_single_test_is_not_corrected() -> None:
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]


def test_comparisons_without_a_test_do_not_count() -> None:
    assert holm([None, 0.02, None, 0.03]) == pytest.approx([None, 0.04, None, 0.04])
