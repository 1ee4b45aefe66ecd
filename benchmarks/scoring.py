"""Scoring one real-size CT: both protocols on label maps, and MONAI's metrics on one-hot tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric

from benchmarks.measuring import Setting, Table, alternating, in_own_process, peak_extra_mb
from i2net_bundle.data.phantoms import ct_phantom
from i2net_bundle.evaluation.case_scores import score_case
from i2net_bundle.metrics.registry import SURFACE_TOLERANCE_MM

TITLE = "Scoring"
SPACING_MM, NUM_CLASSES = (0.8, 0.8, 3.0), 9
FIGURES = ("strict_dice", "strict_hd95", "strict_surface_dice")


def make_masks(path: Path, shape: tuple[int, int, int]) -> None:
    """Write a phantom's organs and, as their prediction, the same organs shifted and with voxels removed."""
    _, label = ct_phantom(0, shape, SPACING_MM)
    pred = np.roll(label, (3, -2, 1), axis=(0, 1, 2))
    pred[np.random.default_rng(0).random(shape, np.float32) < 1e-4] = 0
    np.savez(path, label=label, pred=pred)


def ours(pred: np.ndarray, label: np.ndarray) -> np.ndarray:
    """All scores of both protocols; returns those that MONAI also has, (3, classes)."""
    scores = score_case(pred, label, NUM_CLASSES, SPACING_MM, "mm", {"case": "phantom"})
    return np.array([[item.metrics[figure] for item in scores.classes] for figure in FIGURES])


def monai(pred: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Dice, HD95 and surface Dice on one-hot tensors, (3, classes)."""
    pair = _one_hot(pred), _one_hot(label)
    surface = SurfaceDiceMetric([SURFACE_TOLERANCE_MM] * (NUM_CLASSES - 1), use_subvoxels=True)
    return np.concatenate([_dice_and_hd95(*pair), surface(*pair, spacing=list(SPACING_MM)).numpy()])


def monai_without_surface_dice(pred: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Dice and HD95 on one-hot tensors, (2, classes)."""
    return _dice_and_hd95(_one_hot(pred), _one_hot(label))


WAYS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "both protocols, label maps": ours,
    "MONAI, one-hot: Dice, HD95, surface Dice": monai,
    "MONAI, one-hot: Dice, HD95": monai_without_surface_dice,
}


def _one_hot(labels: np.ndarray) -> torch.Tensor:
    return torch.stack([torch.from_numpy(labels == index) for index in range(NUM_CLASSES)])[None].float()


def _dice_and_hd95(pred: torch.Tensor, label: torch.Tensor) -> np.ndarray:
    dice = DiceMetric(include_background=False)(pred, label)
    hd95 = HausdorffDistanceMetric(percentile=95)(pred, label, spacing=list(SPACING_MM))
    return torch.cat([dice, hd95]).numpy()


def peak(way: str, masks: Path) -> float:
    """Peak memory of scoring, minus the loaded masks, in MB."""
    with np.load(masks) as arrays:
        pred, label = arrays["pred"], arrays["label"]
    WAYS[way](pred[::16, ::16, ::8].copy(), label[::16, ::16, ::8].copy())  # imports happen on first use
    return peak_extra_mb(lambda: WAYS[way](pred, label))


def run(setting: Setting) -> list[Table]:
    """Time, memory and largest difference from MONAI."""
    masks = setting.work_dir / "masks.npz"
    shape = (96, 96, 48) if setting.quick else (512, 512, 148)
    make_masks(masks, shape)
    with np.load(masks) as arrays:
        pair = arrays["pred"], arrays["label"]
    functions = {name: lambda way=way: way(*pair) for name, way in WAYS.items()}
    seconds = alternating(functions, 1, "scoring")  # a round takes a minute, and its ratios are large
    peaks = {name: in_own_process(peak, name, masks) for name in WAYS}
    own = next(iter(WAYS))
    rows = [
        [
            name,
            f"{seconds[name]:.1f}",
            f"{seconds[own] / seconds[name]:.2f}",
            f"{peaks[name]:.0f}",
            f"{peaks[own] / peaks[name]:.2f}",
        ]
        for name in WAYS
    ]
    difference = np.abs(ours(*pair) - monai(*pair)).max(axis=1)
    found = ", ".join(f"{name} {value:.1e}" for name, value in zip(FIGURES, difference, strict=True))
    note = f"{'×'.join(map(str, shape))} voxels, {NUM_CLASSES - 1} organs. Largest difference from MONAI: {found}."
    header = ["way", "s", "ours / this", "extra memory, MB", "ours / this"]
    return [Table("Scoring a case", header, rows, note)]
