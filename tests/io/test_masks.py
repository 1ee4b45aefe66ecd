"""Masks are on the grid of their image, in any orientation, and overwrite nothing."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, Invertd, SaveImaged
from nibabel.orientations import axcodes2ornt, inv_ornt_aff
from PIL import Image

from i2net_bundle.io.masks import mask_name, write_mask
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.prediction import SlicewiseInferer
from i2net_bundle.prediction.saving import DropChanneld, SaveMaskd
from i2net_bundle.transforms import volume_preprocessing


def write_volume(path: Path, axcodes: str, rotation_deg: float = 0.0) -> np.ndarray:
    """A volume of random HU stored in a given axis order, perhaps oblique; returns its array."""
    ras = np.random.default_rng(0).integers(-1000, 1000, (6, 7, 5)).astype(np.int16)
    angle = np.deg2rad(rotation_deg)
    affine = np.array(
        [
            [0.8 * np.cos(angle), -0.9 * np.sin(angle), 0, -31.5],
            [0.8 * np.sin(angle), 0.9 * np.cos(angle), 0, 12.25],
            [0, 0, 2.5, 700.0],
            [0, 0, 0, 1],
        ]
    )
    turn = nib.orientations.ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axcodes))
    array = nib.orientations.apply_orientation(ras, turn)
    image = nib.Nifti1Image(array, affine @ inv_ornt_aff(turn, ras.shape))
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    image.to_filename(path)
    return array


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "LAS", "PIR", "SAL"])
@pytest.mark.parametrize("rotation_deg", [0.0, 13.0], ids=["straight", "oblique"])
def test_a_mask_made_after_preprocessing_lies_on_the_files_own_voxels(
    axcodes: str, rotation_deg: float, tmp_path: Path
) -> None:
    path = tmp_path / "case.nii.gz"
    stored = write_volume(path, axcodes, rotation_deg)
    preprocessing = volume_preprocessing(("image",))
    item = preprocessing({"image": str(path)})
    item["pred"] = item["image"] > 0.5  # of the window from -125 to 275 HU: above 75 HU
    restored = Invertd("pred", preprocessing, orig_keys="image", nearest_interp=True)(item)
    SaveMaskd("pred", tmp_path / "masks")(restored)
    mask, image = nib.load(tmp_path / "masks" / "case_mask.nii.gz"), nib.load(path)
    assert mask.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(mask.dataobj), (stored > 75).astype(np.uint8))
    assert np.array_equal(mask.affine, image.affine)
    for code in ("sform_code", "qform_code"):
        assert mask.header[code] == image.header[code]


def test_a_scaled_image_gives_an_unscaled_mask(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4))
    image.header.set_slope_inter(2.0, -1024.0)
    image.to_filename(tmp_path / "a.nii")
    write_mask(np.full((2, 2, 2), 3), tmp_path / "a.nii", tmp_path / "m.nii")
    mask = nib.load(tmp_path / "m.nii")
    assert (mask.dataobj.slope, mask.dataobj.inter) == (1, 0)
    assert np.all(np.asarray(mask.dataobj) == 3)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize(
    ("classes", "stored"), [(2, [[0, 255, 255], [255, 0, 255]]), (3, [[0, 1, 1], [1, 0, 1]])], ids=["two", "more"]
)
def test_masks_of_images_are_black_and_white_for_two_classes_and_indices_for_more(
    suffix: str, classes: int, stored: list[list[int]], tmp_path: Path
) -> None:
    path = tmp_path / f"m{suffix}"
    write_mask(np.array([[0, 1, 1], [1, 0, 1]]), tmp_path / f"a{suffix}", path, num_classes=classes)
    with Image.open(path) as mask:
        assert mask.mode == "L"
        assert mask.format == {".png": "PNG", ".bmp": "BMP", ".tif": "TIFF"}[suffix]
        assert suffix != ".tif" or mask.info["compression"] == "tiff_adobe_deflate"
        assert np.asarray(mask).tolist() == stored


def test_a_mask_of_more_classes_than_said_is_not_squashed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.png: its mask contains class 3 of 2: wrong num_classes"):
        write_mask(np.array([[0, 3]]), tmp_path / "a.png", tmp_path / "m.png")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_mask_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    target = tmp_path / "m.png"
    write_mask(np.zeros((2, 2)), tmp_path / "a.png", target)
    with pytest.raises(FileExistsError, match=r"m\.png exists.*--overwrite \(of monai\.bundle: --overwrite true\)"):
        write_mask(np.ones((2, 2)), tmp_path / "a.png", target)
    assert not np.asarray(Image.open(target)).any()
    write_mask(np.ones((2, 2)), tmp_path / "a.png", target, overwrite=True)
    assert np.asarray(Image.open(target)).all()


def test_a_mask_of_another_shape_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", "RAS")
    with pytest.raises(ValueError, match=r"a\.nii\.gz is \(6, 7, 5\), its mask \(7, 6, 5\)"):
        write_mask(np.zeros((7, 6, 5)), tmp_path / "a.nii.gz", tmp_path / "m.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize(
    ("shape", "volume"),
    [
        ((6, 7), None),
        ((6, 7, 1), None),
        ((6, 7, 5, 1), None),
        ((6, 7, 5, 1, 1), None),
        ((6, 7, 1, 1), None),
        ((6, 7, 5, 2), 1),
    ],
    ids=["2D", "one slice", "one volume in 4D", "one volume in 5D", "one slice in 4D", "one of two volumes"],
)
@pytest.mark.parametrize("axcodes", ["RAS", "LPS"])
def test_a_mask_has_the_shape_of_its_file(
    shape: tuple[int, ...], volume: int | None, axcodes: str, tmp_path: Path
) -> None:
    stored = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)
    directions = {"RAS": (1, 1), "LPS": (-1, -1)}[axcodes]
    affine = np.diag([0.8 * directions[0], 0.9 * directions[1], 2.5, 1])
    nib.save(nib.Nifti1Image(stored, affine), tmp_path / "case.nii.gz")
    preprocessing = volume_preprocessing(("image",), options=VolumeOptions(volume=volume))
    item = preprocessing({"image": str(tmp_path / "case.nii.gz")})
    item["pred"] = item["image"] > 0.5  # above 75 HU
    restored = Invertd("pred", preprocessing, orig_keys="image", nearest_interp=True)(item)
    SaveMaskd("pred", tmp_path)(restored)
    mask, image = nib.load(tmp_path / "case_mask.nii.gz"), nib.load(tmp_path / "case.nii.gz")
    expected = stored > 75 if volume is None else stored[..., volume] > 75
    assert mask.shape == expected.shape
    assert np.array_equal(np.asarray(mask.dataobj), expected.astype(np.uint8))
    assert np.array_equal(mask.affine, image.affine)


@pytest.mark.parametrize(
    ("image_class", "fields"),
    [
        (nib.Nifti1Image, ("descrip", "db_name", "aux_file", "intent_name")),
        (nib.Nifti1Image, ("data_type",)),
        (nib.Nifti2Image, ("descrip", "aux_file", "intent_name", "unused_str")),
    ],
    ids=["NIfTI-1", "a leftover of Analyze", "NIfTI-2"],
)
def test_a_mask_contains_none_of_its_images_free_text(
    image_class: type[nib.Nifti1Image], fields: tuple[str, ...], tmp_path: Path
) -> None:
    image = image_class(np.zeros((2, 3, 4), np.int16), np.eye(4))
    for field in fields:
        image.header[field] = b"Doe^Jane"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"patient Doe^Jane"))
    image.to_filename(tmp_path / "a.nii.gz")
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes()).count(b"Doe^Jane") == len(fields) + 1
    write_mask(np.ones((2, 3, 4)), tmp_path / "a.nii.gz", tmp_path / "m.nii.gz")
    written = (tmp_path / "m.nii.gz").read_bytes()
    assert b"Doe" not in written
    assert b"Doe" not in gzip.decompress(written)
    mask = nib.load(tmp_path / "m.nii.gz")
    assert isinstance(mask, image_class)
    assert np.all(np.asarray(mask.dataobj) == 1)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.nii.gz", "a_mask.nii.gz"),
        ("a.b.nii", "a.b_mask.nii"),
        ("A.NII.GZ", "A_mask.nii.gz"),
        ("c.bmp", "c_mask.bmp"),
        ("d.TIF", "d_mask.tif"),
        ("e.tiff", "e_mask.tiff"),
        ("f.jpeg", "f_mask.png"),
    ],
)
def test_masks_are_named_after_their_image(image: str, mask: str) -> None:
    assert mask_name(Path(image)) == mask


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "PIR"])
def test_a_workflow_saves_masks_on_the_files_own_voxels(axcodes: str, tmp_path: Path) -> None:
    stored = write_volume(tmp_path / "case.nii.gz", axcodes)
    preprocessing = volume_preprocessing(("image",))
    restore = Invertd("pred", preprocessing, orig_keys="image", nearest_interp=True)
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset([{"image": str(tmp_path / "case.nii.gz")}], preprocessing), batch_size=1),
        network=Above75HU(),
        inferer=SlicewiseInferer(size=(7, 6), batch_size=2),  # P × L of the volume: nothing is resized
        postprocessing=Compose([restore, SaveMaskd("pred", tmp_path / "masks")]),
    )
    evaluator.run()
    mask = nib.load(tmp_path / "masks" / "case_mask.nii.gz")
    assert np.array_equal(np.asarray(mask.dataobj), (stored > 75).astype(np.uint8))


class Above75HU(torch.nn.Module):
    """Logits of two classes, the second where the windowed image is above 75 HU."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - image, image - 0.5], dim=1)


def test_without_its_channel_a_volume_keeps_its_axes_and_an_image_has_x_first() -> None:
    volume, image = torch.arange(24).reshape(1, 2, 3, 4), torch.arange(6).reshape(1, 2, 3)
    dropped = DropChanneld(["volume", "image"])({"volume": volume, "image": image})
    assert torch.equal(dropped["volume"], volume[0])
    assert dropped["image"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_saving_is_a_step_that_monai_label_knows_and_leaves_out(tmp_path: Path) -> None:
    assert isinstance(SaveMaskd("pred", tmp_path), SaveImaged)
