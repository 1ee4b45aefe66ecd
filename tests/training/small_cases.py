"""CT cases small enough to compare voxel by voxel, and their expected slices."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose

from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.training.cache import CachedCase, CaseCache, DecodedCase
from i2net_bundle.transforms import volume_reading
from tests.training.counting import Count

KEYS = ("image", "label")
SHAPE = (5, 6, 4)  # right, anterior, superior


def write_case(
    folder: Path, image: np.ndarray | None = None, label: np.ndarray | None = None, seed: int = 0
) -> dict[str, str]:
    """A CT of 5×6×4 voxels; int16 HU and uint8 labels unless given."""
    rng = np.random.default_rng(seed)
    image = rng.integers(-1024, 300, SHAPE).astype(np.int16) if image is None else image
    label = rng.integers(0, 9, SHAPE).astype(np.uint8) if label is None else label
    folder.mkdir(exist_ok=True)
    case = {key: str(folder / f"{key}.nii.gz") for key in KEYS}
    for key, array in zip(KEYS, (image, label), strict=True):
        nib.save(nib.Nifti1Image(array, np.eye(4)), case[key])
    return case


def slices_first(ras: np.ndarray) -> np.ndarray:
    """(R, A, S) to (S, 1, P, L), by the obvious indexing."""
    return np.stack([ras[::-1, ::-1, s].T[None] for s in range(ras.shape[2])])


def expected(case: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Content of the case's files, (S, 1, P, L)."""
    return {key: slices_first(np.asarray(nib.load(case[key]).dataobj)) for key in KEYS}


def stacked(read: CachedCase | DecodedCase) -> dict[str, np.ndarray]:
    """All slices of a case, (D, C, H, W)."""
    slices = [read[index] for index in range(len(read))]
    return {key: np.stack([item[key] for item in slices]) for key in KEYS}


def assert_same(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> None:
    """Require equal values and types."""
    for key in KEYS:
        assert found[key].dtype == wanted[key].dtype, key
        np.testing.assert_array_equal(found[key], wanted[key], key)


def counting(cache_dir: Path | None, options: VolumeOptions | None = None) -> tuple[CaseCache, Count]:
    """A cache, and its number of decoded cases."""
    count = Count()
    return CaseCache(Compose([count, *volume_reading(KEYS, options).transforms]), cache_dir), count


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Warnings of the cache."""
    found = [record for record in caplog.records if record.name == "i2net.cache"]
    return [record.getMessage() for record in found if record.levelno == logging.WARNING]
