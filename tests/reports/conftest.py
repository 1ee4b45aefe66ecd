"""Previews of sound and faulty data sets."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from i2net_bundle.data.phantoms import make_ct_phantoms, make_gland_phantoms
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.prepare import prepare_synapse
from i2net_bundle.reports.preview import preview_dataset
from tests.prepare.ct_lookalikes import write_btcv


@pytest.fixture(scope="session")
def ct_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Preview of two CT phantoms for training, one for validation, one for test."""
    folder = make_ct_phantoms(tmp_path_factory.mktemp("ct"), 2, 1, 1, (48, 48, 16), (8.0, 8.0, 15.0)).parent
    return preview_dataset(folder)


@pytest.fixture(scope="session")
def gland_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Preview of two gland phantoms for training, one for validation, one for test."""
    folder = make_gland_phantoms(tmp_path_factory.mktemp("glands"), 2, 1, 1, (64, 80)).parent
    return preview_dataset(folder)


@pytest.fixture(scope="session")
def faulty_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Preview of patients of whom 5 cannot be read, 6 has a huge aorta, 7 is sound and 8 mirrored."""
    folder = tmp_path_factory.mktemp("faulty")
    raw = write_btcv(folder / "raw", [5, 6, 7, 8], mirrored_image=[8])
    prepared = prepare_synapse(raw, folder / "out", options=VolumeOptions(geometry="image"), allow_missing=True).parent
    image = prepared / "imagesTr" / "case0005.nii.gz"
    image.write_bytes(image.read_bytes()[:2000])
    path = prepared / "labelsTr" / "case0006.nii.gz"
    label = nib.load(path)
    labels = np.asarray(label.dataobj).copy()
    labels[18:30, 8:20, 4:14] = 1
    nib.save(nib.Nifti1Image(labels, label.affine, label.header), path)
    return preview_dataset(prepared)
