"""The mask in world space does not depend on the orientation of the axes in the file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from i2net_bundle.networks import synapse_i2net
from i2net_bundle.prediction.predictor import Predictor
from tests.checks.ct_files import hu_volume

AXES = [
    "".join(side)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for side in itertools.product(*order)  # every order of the axes, every direction of each
]
SHAPE = (22, 18, 6)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    """An untrained network whose classes are made equally likely, so that the mask has structure."""
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        network = synapse_i2net().eval()
        logits = network(torch.rand(1, 1, 32, 32))
        scale = logits.std((0, 2, 3))
        network.head.conv.weight.div_(scale[:, None, None, None])
        network.head.conv.bias.sub_(logits.mean((0, 2, 3))).div_(scale)
    torch.save(network.state_dict(), path)
    return Predictor(path, overrides={"image_size": [32, 32]})


def write(path: Path, axcodes: str) -> Path:
    """One anatomy, oblique by 9 degrees about the long axis, stored with its axes in a given order."""
    angle = np.deg2rad(9)
    affine = np.array(
        [
            [1.5 * np.cos(angle), -1.25 * np.sin(angle), 0, -30],
            [1.5 * np.sin(angle), 1.25 * np.cos(angle), 0, 12.25],
            [0, 0, 4, 700],
            [0, 0, 0, 1],
        ]
    )
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axcodes))
    stored = nib.orientations.apply_orientation(hu_volume(SHAPE), turn)
    image = nib.Nifti1Image(stored, affine @ inv_ornt_aff(turn, SHAPE))
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    nib.save(image, path)
    return path


@pytest.fixture(scope="module")
def expected(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> nib.Nifti1Image:
    """The mask of the volume in RAS order."""
    prediction = predictor.predict(write(tmp_path_factory.mktemp("ras") / "ct.nii", "RAS"))
    assert len(np.unique(prediction.mask)) > 3
    return nib.Nifti1Image(prediction.mask, prediction.affine)


def test_there_are_48_orientations() -> None:
    assert len(set(AXES)) == 48


@pytest.mark.parametrize("axcodes", AXES)
def test_every_orientation_gives_one_mask(
    axcodes: str, predictor: Predictor, expected: nib.Nifti1Image, tmp_path: Path
) -> None:
    path = write(tmp_path / "ct.nii", axcodes)
    prediction = predictor.predict(path)
    assert nib.aff2axcodes(prediction.affine) == tuple(axcodes)
    np.testing.assert_allclose(prediction.affine, nib.load(path).affine, atol=1e-5)
    found = nib.as_closest_canonical(nib.Nifti1Image(prediction.mask, prediction.affine))
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)
    assert np.array_equal(np.asarray(found.dataobj), np.asarray(expected.dataobj))
