"""MR volumes of two channels, one file per channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from i2net_bundle.io.options import VolumeOptions
from tests.checks.ct_files import AFFINE, SHAPE, save

MR = VolumeOptions(channels=("T2", "ADC"))


def mr_volume(seed: int = 0, scale: float = 400.0) -> np.ndarray:
    """Positive values of no unit, as of an MR; int16."""
    return np.random.default_rng(seed).gamma(2.0, scale, SHAPE).astype(np.int16)


def write_channels(folder: Path, second_affine: np.ndarray = AFFINE) -> list[str]:
    return [
        save(folder / "p_0000.nii.gz", mr_volume(0)),
        save(folder / "p_0001.nii.gz", mr_volume(1, 1000.0), second_affine),
    ]
