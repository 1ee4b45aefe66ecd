"""Both protocols against independent implementations, on random cases with and without empty masks.

``pytest tests/metrics/test_references.py -s | grep largest`` prints the largest differences.
"""

from __future__ import annotations

import math
from collections import defaultdict

import medpy.metric.binary as medpy
import numpy as np
import pytest
import surface_distance
import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric
from scipy import ndimage

from i2net_bundle.metrics import score_classes
from i2net_bundle.metrics.registry import SURFACE_TOLERANCE_MM

NUM_CASES, NUM_CLASSES = 20, 4
FLOAT32 = 1e-4  # MONAI computes in single precision, and distances reach 100 mm


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Two similar label maps of three organs, some missed, invented or absent, on an anisotropic grid."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(12, 40, 3))
    smooth = [ndimage.gaussian_filter(rng.standard_normal(shape), 2.5) for _ in range(2)]
    fields = [field / field.std() for field in smooth]
    label = np.digitize(fields[0], [0.4, 1.0, 1.6]).astype(np.uint8)
    pred = np.digitize(0.85 * fields[0] + 0.5 * fields[1], [0.4, 1.0, 1.6]).astype(np.uint8)
    if seed % 4 == 1:
        pred[pred == 2] = 0  # missed
    if seed % 4 == 2:
        label[label == 3] = 0  # invented
    if seed % 4 == 3:
        label[label == 1], pred[pred == 1] = 0, 0  # absent
    return pred, label, rng.uniform(0.5, 5, 3).tolist()


def monai_scores(pred: np.ndarray, label: np.ndarray, spacing: list[float]) -> dict[str, float]:
    pair = [torch.from_numpy(mask)[None, None].float() for mask in (pred, label)]
    hausdorff = HausdorffDistanceMetric(include_background=True, percentile=95)
    surface = SurfaceDiceMetric([SURFACE_TOLERANCE_MM], include_background=True, use_subvoxels=True)
    return {
        "strict_dice": DiceMetric()(*pair).item(),
        "strict_hd95": hausdorff(*pair, spacing=spacing).item(),
        "strict_surface_dice": surface(*pair, spacing=spacing).item(),
    }


@pytest.fixture(scope="module")
def differences() -> dict[str, float]:
    """Largest difference of every metric from each reference."""
    largest: dict[str, float] = defaultdict(float)
    statuses = defaultdict(int)

    def compare(name: str, ours: float, theirs: float) -> None:
        largest[name] = max(largest[name], abs(ours - theirs))

    for seed in range(NUM_CASES):
        pred, label, spacing = random_case(seed)
        scores = score_classes(pred, label, NUM_CLASSES, spacing)
        diagonal = math.sqrt(sum((n * s) ** 2 for n, s in zip(label.shape, spacing, strict=True)))
        for index, item in enumerate(scores, 1):
            masks = pred == index, label == index
            own, status = item.metrics, item.status
            statuses[status] += 1
            if status == "found":
                compare("medpy Dice", own["transunet_dice"], medpy.dc(*masks))
                compare("medpy HD95", own["transunet_hd95"], medpy.hd95(*masks))
                for name, theirs in monai_scores(*masks, spacing).items():
                    compare(f"MONAI {name}", own[name], theirs)
                distances = surface_distance.compute_surface_distances(masks[1], masks[0], spacing)
                theirs = surface_distance.compute_surface_dice_at_tolerance(distances, SURFACE_TOLERANCE_MM)
                compare("surface-distance surface Dice", own["strict_surface_dice"], theirs)
            elif status == "missed":
                assert (own["transunet_dice"], own["transunet_hd95"]) == (0, 0)
                assert (own["strict_dice"], own["strict_surface_dice"]) == (0, 0)
                assert own["strict_hd95"] == pytest.approx(diagonal)
            elif status == "invented":
                assert (own["transunet_dice"], own["transunet_hd95"]) == (1, 0)
                assert (own["strict_dice"], own["strict_surface_dice"]) == (0, 0)
                assert own["strict_hd95"] == pytest.approx(diagonal)
            else:
                assert (own["transunet_dice"], own["transunet_hd95"]) == (0, 0)
                assert all(
                    math.isnan(value) for value in (own["strict_dice"], own["strict_hd95"], own["strict_surface_dice"])
                )
    assert all(statuses[status] for status in ("found", "missed", "invented", "absent")), dict(statuses)
    for name, value in largest.items():
        print(f"{name}: largest difference {value:.1e}")
    return largest


@pytest.mark.parametrize(
    ("reference", "tolerance"),
    [
        ("medpy Dice", 1e-12),
        ("medpy HD95", 1e-9),
        ("surface-distance surface Dice", 1e-7),
        ("MONAI strict_dice", 1e-6),
        ("MONAI strict_hd95", FLOAT32),
        ("MONAI strict_surface_dice", 1e-6),
    ],
)
def test_scores_equal_the_reference(differences: dict[str, float], reference: str, tolerance: float) -> None:
    assert differences[reference] <= tolerance


def test_a_distant_false_positive_raises_the_strict_distance_but_not_the_pooled_one() -> None:
    label = np.zeros([40] * 3, np.uint8)
    label[4:16, 4:16, 4:16] = 1  # 12³ - 10³ = 728 surface voxels
    pred = label.copy()
    pred[34:40, 34:40, 34:36] = 1  # 72 more: 9 % of the predicted surface, 4.7 % of both
    own = score_classes(pred, label, 2, [1.0] * 3)[0].metrics
    assert own["transunet_hd95"] == 0
    assert own["strict_hd95"] > 30
