"""Baselines of the demonstration."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from i2net_bundle.demo import _free_folder, class_blind_dice


def test_the_class_blind_guess_on_volumes_names_all_organs_alike(tmp_path: Path) -> None:
    label = np.zeros((2, 2, 2), np.uint8)
    label[0], label[1, 0, 0] = 1, 2  # 4 voxels of class 1, 1 of class 2
    hu = np.array([[[-1000, -90], [40, 60]], [[-1000, 30], [50, 70]]], np.int16)
    for name, array in (("image", hu), ("label", label)):
        nib.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / f"{name}.nii.gz")
    case = {"image": "./image.nii.gz", "label": "./label.nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps({"test": [case]}))
    # all five voxels named class 1: Dice 2·4 / (5 + 4) for class 1 and 0 for class 2
    assert class_blind_dice(tmp_path, histology=False) == pytest.approx((8 / 9 + 0) / 2)


def test_the_class_blind_guess_on_histology_calls_everything_gland(tmp_path: Path) -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[0] = 7  # one instance on a quarter of the image
    Image.fromarray(mask).save(tmp_path / "a_anno.png")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    case = {"image": "./a.png", "label": "./a_anno.png"}
    (tmp_path / "dataset.json").write_text(json.dumps({"test": [case]}))
    assert class_blind_dice(tmp_path, histology=True) == pytest.approx(2 * 4 / (16 + 4))


def test_an_earlier_demonstration_is_kept(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").mkdir()
    assert _free_folder(tmp_path / "demo") == tmp_path / "demo-3"
