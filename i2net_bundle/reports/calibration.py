"""Calibration: whether confidence matches accuracy. Reliability diagram and expected calibration error (ECE).

Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, applied to pixels instead of images. The
confidence of a pixel is the probability of its predicted class; in binary tasks it is max(p, 1 - p).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

NUM_BINS = 15


class Reliability:
    """Pixels sorted by confidence into bins of equal width.

    Args:
        num_bins: number of bins of [0, 1].
    """

    def __init__(self, num_bins: int = NUM_BINS) -> None:
        self.count = np.zeros(num_bins, np.int64)
        self.confidence, self.correct = np.zeros(num_bins), np.zeros(num_bins)

    def add(self, confidence: np.ndarray, correct: np.ndarray) -> None:
        """Add P pixels: their confidence in [0, 1] (P,), and whether the prediction is correct (P,)."""
        num_bins = len(self.count)
        bins = np.clip((confidence * num_bins).astype(np.int64), 0, num_bins - 1)
        self.count += np.bincount(bins, minlength=num_bins)
        self.confidence += np.bincount(bins, confidence, num_bins)
        self.correct += np.bincount(bins, correct, num_bins)

    @property
    def error(self) -> float:
        """ECE: sum over the bins of their share of pixels times |accuracy - mean confidence|; NaN without pixels."""
        total = self.count.sum()
        return float(np.abs(self.correct - self.confidence).sum() / total) if total else math.nan

    def summary(self) -> dict[str, Any]:
        """Number of pixels, mean confidence and accuracy of every bin (None in empty bins), and the ECE."""

        def means(sums: np.ndarray) -> list[float | None]:
            return [float(total / count) if count else None for total, count in zip(sums, self.count, strict=True)]

        return {
            "ece": self.error if self.count.any() else None,
            "pixels": int(self.count.sum()),
            "count": self.count.tolist(),
            "confidence": means(self.confidence),
            "accuracy": means(self.correct),
        }


def predicted_class(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted class of every pixel and its probability.

    Args:
        logits: (N, O, h, w); a single channel is the logit of class 1 against the background.

    Returns:
        class indices (N, h, w), int64, and probabilities (N, h, w), float32.
    """
    logits = logits.float()
    if logits.shape[1] == 1:
        classes = (logits[:, 0] > 0).long()
        return classes, torch.sigmoid(logits[:, 0].abs())
    probability, classes = logits.softmax(dim=1).max(dim=1)
    return classes, probability


class Calibration:
    """Reliability of all pixels, of foreground pixels (in the truth or the prediction), and of each predicted class.

    Most of a CT slice is background on which every network is sure, so the ECE of all pixels says little about organs.

    Args:
        num_classes: number of classes, background included.
    """

    def __init__(self, num_classes: int) -> None:
        self.all, self.foreground = Reliability(), Reliability()
        self.classes = [Reliability() for _ in range(num_classes)]

    def add(self, logits: Tensor, truth: Tensor) -> None:
        """Add slices; one slice at a time is copied to the CPU.

        Args:
            logits: (N, O, h, w).
            truth: true class indices (N, 1, h, w); pixels whose value is not a class are left out.
        """
        for item, labels in zip(logits, truth[:, 0], strict=True):
            predicted, confidence = (part[0].cpu().numpy().ravel() for part in predicted_class(item[None]))
            true = labels.cpu().numpy().ravel()
            counts = true < len(self.classes)
            predicted, confidence, true = predicted[counts], confidence[counts].astype(np.float64), true[counts]
            correct = predicted == true
            self.all.add(confidence, correct)
            foreground = (predicted > 0) | (true > 0)
            self.foreground.add(confidence[foreground], correct[foreground])
            for index, reliability in enumerate(self.classes):
                chosen = predicted == index
                reliability.add(confidence[chosen], correct[chosen])
