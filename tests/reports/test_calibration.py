"""Calibration, computed by hand and by an explicit loop over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from i2net_bundle.reports.calibration import Calibration, Reliability, predicted_class


def test_the_error_is_the_mean_distance_of_confidence_and_accuracy_over_bins() -> None:
    reliability = Reliability(num_bins=2)
    reliability.add(np.array([0.2, 0.4, 0.8, 1.0]), np.array([True, False, True, True]))
    # lower bin: accuracy 1/2, confidence 0.3; upper: 1 and 0.9; half of the pixels each
    assert reliability.error == pytest.approx(0.5 * 0.2 + 0.5 * 0.1)
    summary = reliability.summary()
    assert summary["count"] == [2, 2] and summary["accuracy"] == [0.5, 1.0]
    assert summary["confidence"] == pytest.approx([0.3, 0.9])


def test_without_pixels_there_is_no_error() -> None:
    assert math.isnan(Reliability().error)
    assert Reliability().summary()["ece"] is None and Reliability().summary()["accuracy"][0] is None


def test_pixels_can_be_added_in_parts() -> None:
    generator = np.random.default_rng(0)
    confidence, correct = generator.random(100), generator.random(100) < 0.7
    whole, parts = Reliability(), Reliability()
    whole.add(confidence, correct)
    for part in (slice(0, 33), slice(33, 100)):
        parts.add(confidence[part], correct[part])
    assert parts.error == pytest.approx(whole.error)


def test_one_channel_is_a_binary_task() -> None:
    logits = torch.tensor([[[[math.log(3), -math.log(4)]]]])
    classes, confidence = predicted_class(logits)
    assert classes.tolist() == [[[1, 0]]]
    assert confidence.flatten().tolist() == pytest.approx([0.75, 0.8])  # 3 / (1 + 3), 4 / (1 + 4)


def test_one_and_two_channels_of_a_binary_task_agree() -> None:
    logit = torch.randn(2, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    one, two = predicted_class(logit), predicted_class(torch.cat([torch.zeros_like(logit), logit], dim=1))
    assert torch.equal(one[0], two[0]) and torch.allclose(one[1], two[1])


def test_pixels_are_grouped_by_predicted_class_and_by_foreground() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 8, 9, generator=generator)
    truth = torch.randint(0, 4, (3, 1, 8, 9), generator=generator)
    truth[0, 0, 0, :3] = 255  # ignored
    calibration = Calibration(4)
    calibration.add(logits, truth)

    expected: dict[str, list[tuple[float, bool]]] = {name: [] for name in ("all", "foreground", "0", "1", "2", "3")}
    for n, i, j in np.ndindex(3, 8, 9):
        true = int(truth[n, 0, i, j])
        if true == 255:
            continue
        probabilities = torch.softmax(logits[n, :, i, j].double(), dim=0)
        predicted = int(probabilities.argmax())
        pair = (float(probabilities.max()), predicted == true)
        for name in ("all", str(predicted), *(["foreground"] if predicted or true else [])):
            expected[name].append(pair)
    found = {"all": calibration.all, "foreground": calibration.foreground}
    found |= {str(index): part for index, part in enumerate(calibration.classes)}
    for name, pairs in expected.items():
        error = 0.0
        for b in range(15):
            inside = [pair for pair in pairs if b / 15 <= pair[0] < (b + 1) / 15]
            error += abs(sum(c for c, _ in inside) - sum(r for _, r in inside)) / len(pairs)
        assert found[name].count.sum() == len(pairs), name
        assert found[name].error == pytest.approx(error, abs=1e-6), name
