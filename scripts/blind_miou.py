"""Print the mIoU of guesses that do not look at the image, as a floor for networks on images of one size.

python -m scripts.blind_miou DATA, in the checkout. DATA is a prepared folder of Cityscapes or of street phantoms. The
guesses come from its training images and are scored on its validation images.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from i2net_bundle.data import load_cases
from i2net_bundle.data.description import describe_dataset
from i2net_bundle.metrics import confusion_matrix, intersection_over_union


def blind_mious(dataset_dir: Path) -> dict[str, float]:
    """Score the most frequent class everywhere, and the most frequent class of each position.

    Args:
        dataset_dir: folder of ``dataset.json``; its images all have one size.
    """
    described = describe_dataset(dataset_dir)
    num_classes, ignored = len(described.class_names), described.ignore_id
    training, validation = (_labels(dataset_dir, split) for split in ("training", "validation"))
    counts = np.stack([(training == index).sum(axis=0) for index in range(num_classes)])  # (C, H, W)
    guesses = {
        "one class everywhere": np.full(counts.shape[1:], counts.sum(axis=(1, 2)).argmax()),
        "each position's most frequent class": counts.argmax(axis=0),
    }
    found = {}
    for name, guess in guesses.items():
        confusion = sum(confusion_matrix(guess, label, num_classes, ignored) for label in validation)
        found[name] = float(np.nanmean(intersection_over_union(np.asarray(confusion))))
    return found


def _labels(dataset_dir: Path, split: str) -> np.ndarray:
    """All labels of a split (N, H, W)."""
    return np.stack([np.asarray(Image.open(case["label"])) for case in load_cases(dataset_dir, split)])


if __name__ == "__main__":
    for guess, miou in blind_mious(Path(sys.argv[1])).items():
        print(f"{guess}: mIoU {miou:.3f}")
