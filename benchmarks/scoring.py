"""Time and memory of scoring one CT of real size: python benchmarks/scoring.py [--repeats 2].

Both protocols with all their figures (`i2net_bundle.metrics.score_case`) against MONAI's Dice, HD95 and surface Dice on
one-hot tensors, and against MONAI's Dice and HD95 alone. Each measurement is a process of its own; they alternate.
Memory is the increment over the loaded masks. Prints a Markdown table with medians, ratios and the largest difference
between the two sides' figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric

from i2net_bundle.data.phantoms import ct_phantom
from i2net_bundle.metrics import score_case
from i2net_bundle.metrics.protocols import SURFACE_TOLERANCE_MM

SHAPE, SPACING_MM, NUM_CLASSES = (512, 512, 148), (0.8, 0.8, 3.0), 9
FIGURES = ("strict_dice", "strict_hd95", "strict_surface_dice")


def make_masks(path: Path, shape: tuple[int, int, int] = SHAPE) -> None:
    """Write a phantom's organs, and as their prediction the same ones moved and with bites taken out."""
    _, label = ct_phantom(0, shape, SPACING_MM)
    pred = np.roll(label, (3, -2, 1), axis=(0, 1, 2))
    pred[np.random.default_rng(0).random(shape, np.float32) < 1e-4] = 0
    np.savez(path, label=label, pred=pred)


def ours(pred: np.ndarray, label: np.ndarray) -> np.ndarray:
    """All figures of both protocols; returns those that MONAI has too, (3, classes)."""
    scores = score_case(pred, label, NUM_CLASSES, SPACING_MM, "mm", {"case": "phantom"})
    return np.array([[getattr(item, figure) for item in scores.classes] for figure in FIGURES])


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


def measure(way: str, masks: Path) -> dict[str, object]:
    """Seconds, MB above the loaded masks, and the figures, of this process."""
    with np.load(masks) as arrays:
        pred, label = arrays["pred"], arrays["label"]
    WAYS[way](pred[::16, ::16, ::8].copy(), label[::16, ::16, ::8].copy())  # what is imported on first use
    before = _reset_peak_mb()
    started = time.perf_counter()
    figures = WAYS[way](pred, label)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "mb": _memory_mb("VmHWM") - before, "figures": figures.tolist()}


def _reset_peak_mb() -> float:
    """Forget the largest resident memory so far; returns the present one."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory_mb("VmRSS")


def _memory_mb(field: str) -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) / 1024


def main() -> None:
    """Run the comparison, or one measurement of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2, help="rounds of alternating measurements (default 2)")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only[0], Path(arguments.only[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        masks = Path(folder, "masks.npz")
        make_masks(masks)
        runs: dict[str, list[dict]] = {way: [] for way in WAYS}
        for _ in range(arguments.repeats):
            for way in WAYS:
                command = [sys.executable, __file__, "--only", way, str(masks)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                runs[way].append(json.loads(done.stdout.splitlines()[-1]))
    report(runs)


def report(runs: dict[str, list[dict]]) -> None:
    """Print the table."""
    medians = {
        way: {key: statistics.median(run[key] for run in done) for key in ("seconds", "mb")}
        for way, done in runs.items()
    }
    own = next(iter(medians.values()))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores; {'×'.join(map(str, SHAPE))} voxels, {NUM_CLASSES - 1} organs\n"
    )
    print("| way | seconds | memory, MB | our share of the time | of the memory |\n|---|---|---|---|---|")
    for way, median in medians.items():
        shares = " | ".join(f"{own[key] / median[key]:.2f}" for key in ("seconds", "mb"))
        print(f"| {way} | {median['seconds']:.1f} | {median['mb']:.0f} | {shares} |")
    first, second = (np.array(runs[way][0]["figures"]) for way in list(WAYS)[:2])
    print(f"\nLargest difference to MONAI's figures ({', '.join(FIGURES)}): {np.abs(first - second).max(axis=1)}")


if __name__ == "__main__":
    main()
