"""The real, compressed DICOM series and its NIfTI version are one volume, and so are the masks of both."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from i2net_bundle.checks.scans import load_volume
from i2net_bundle.io.dicom.dicom_rtstruct import write_dicom_rtstruct
from i2net_bundle.io.dicom.dicom_seg import write_dicom_seg
from i2net_bundle.io.masks import write_mask
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.labels import class_names, label_table
from i2net_bundle.networks import synapse_i2net
from i2net_bundle.prediction.cohort import predict_files
from i2net_bundle.prediction.predictor import Predictor
from tests.io.dicom.structure_sets import rasterised

NAMES = class_names("synapse")


def in_ras(image: nib.Nifti1Image) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine of an image whose axes are turned to RAS."""
    turned = nib.as_closest_canonical(image)
    return np.asarray(turned.dataobj), turned.affine


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "data" / "ct" / "abdomen_20slices_dicom"


@pytest.fixture(scope="module")
def mask(shared: Path, folder: Path) -> np.ndarray:
    """The NIfTI version's organs in the order of the series' voxels."""
    labels = nib.load(shared / "data" / "ct" / "abdomen_20slices_label8.nii.gz")
    series, _ = load_volume(folder, VolumeOptions())
    turn = nib.orientations.ornt_transform(nib.io_orientation(labels.affine), nib.io_orientation(series.affine))
    turned = nib.orientations.apply_orientation(np.asarray(labels.dataobj), turn).astype(np.uint8)
    assert turned.shape == series.shape and len(np.unique(turned)) > 3
    return turned


def test_the_series_and_its_nifti_version_are_the_same_voxels_in_world_space(shared: Path, folder: Path) -> None:
    series, _ = load_volume(folder, VolumeOptions())
    nifti, _ = load_volume(shared / "data" / "ct" / "abdomen_20slices_ct.nii.gz", VolumeOptions())
    (voxels, affine), (expected, expected_affine) = in_ras(series), in_ras(nifti)
    np.testing.assert_allclose(affine, expected_affine, atol=1e-3)
    assert np.array_equal(voxels, expected)


def test_masks_of_the_series_and_of_its_nifti_version_have_one_geometry(
    shared: Path, folder: Path, mask: np.ndarray, tmp_path: Path
) -> None:
    path = shared / "data" / "ct" / "abdomen_20slices_ct.nii.gz"
    series, _ = load_volume(folder, VolumeOptions())
    labels = np.asarray(nib.load(shared / "data" / "ct" / "abdomen_20slices_label8.nii.gz").dataobj)
    write_mask(labels, path, tmp_path / "nifti.nii.gz")
    write_mask(mask, folder, tmp_path / "series.nii.gz", affine=series.affine)
    (found, affine), (expected, expected_affine) = (
        in_ras(nib.load(tmp_path / f"{name}.nii.gz")) for name in ("series", "nifti")
    )
    np.testing.assert_allclose(affine, expected_affine, atol=1e-3)
    assert np.array_equal(found, expected)


def test_predictions_for_the_series_and_for_its_nifti_version_are_one_mask(
    shared: Path, folder: Path, tmp_path: Path
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = synapse_i2net()
        torch.nn.init.normal_(network.head.conv.weight, std=3)  # tells classes apart
        torch.save(network.state_dict(), tmp_path / "model.pt")
    predictor = Predictor(tmp_path / "model.pt", overrides={"image_size": [64, 64]}, device="cpu")
    inputs = {"series": folder, "nifti": shared / "data" / "ct" / "abdomen_20slices_ct.nii.gz"}
    for name, path in inputs.items():
        assert predict_files([path], tmp_path / name, predictor, pictures=False).failed == []
    (found, affine), (expected, expected_affine) = (
        in_ras(nib.load(next((tmp_path / name).glob("*_mask.nii.gz")))) for name in inputs
    )
    assert np.array_equal(affine, expected_affine)
    assert np.array_equal(found, expected) and len(np.unique(found)) > 2


# DICOM-SEG, read back by pydicom alone: no code of highdicom, ITK or this package takes part


def placed(path: Path, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A DICOM-SEG's voxels on a grid in RAS mm, each by the position in the patient that its frame states."""
    pydicom = pytest.importorskip("pydicom", reason="needs pip install 'i2net-bundle[dicom]'")
    content = pydicom.dcmread(path)
    shared_groups = content.SharedFunctionalGroupsSequence[0]
    row_mm, column_mm = map(float, shared_groups.PixelMeasuresSequence[0].PixelSpacing)
    along_row, along_column = np.array(
        shared_groups.PlaneOrientationSequence[0].ImageOrientationPatient, float
    ).reshape(2, 3)
    names = {int(item.SegmentNumber): NAMES.index(item.SegmentLabel) for item in content.SegmentSequence}
    labels = np.zeros(shape, np.uint8)
    frames = content.pixel_array.reshape(-1, content.Rows, content.Columns)
    for frame, groups in zip(frames, content.PerFrameFunctionalGroupsSequence, strict=True):
        rows, columns = np.nonzero(frame)
        origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        lps = origin + np.outer(columns * column_mm, along_row) + np.outer(rows * row_mm, along_column)
        index = nib.affines.apply_affine(np.linalg.inv(affine), lps * [-1, -1, 1])
        assert np.abs(index - np.rint(index)).max(initial=0) < 0.01  # of a voxel
        at = tuple(np.rint(index).astype(int).T)
        assert not labels[at].any()
        labels[at] = names[int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)]
    return labels


def identified(folder: Path, target: Path) -> Path:
    """A copy of the series with the UIDs that its de-identification had emptied."""
    pydicom: Any = pytest.importorskip("pydicom", reason="needs pip install 'i2net-bundle[dicom]'")
    target.mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        content = pydicom.dcmread(file)
        content.SOPClassUID = content.file_meta.MediaStorageSOPClassUID
        content.SOPInstanceUID = content.file_meta.MediaStorageSOPInstanceUID
        content.StudyInstanceUID, content.SeriesInstanceUID = "1.2.3", "1.2.3.4"
        content.save_as(target / f"{number}.dcm")
    return target


@pytest.mark.parametrize("with_uids", [True, False], ids=["identified", "as it is"])
def test_a_dicom_seg_of_the_series_is_the_mask_in_world_space(
    with_uids: bool, folder: Path, mask: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("highdicom", reason="needs pip install 'i2net-bundle[dicom]'")
    source = identified(folder, tmp_path / "scan") if with_uids else folder
    series, _ = load_volume(source, VolumeOptions())
    write_dicom_seg(mask, source, tmp_path / "m.dcm", label_table("synapse").classes)
    assert ("have no StudyInstanceUID" in caplog.text) is not with_uids
    found = placed(tmp_path / "m.dcm", series.affine, series.shape)
    assert np.array_equal(found, mask)
    assert [int((found == label).sum()) for label in range(9)] == np.bincount(mask.ravel(), minlength=9).tolist()


def test_a_dicom_seg_refers_to_every_slice_of_the_series(folder: Path, mask: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="needs pip install 'i2net-bundle[dicom]'")
    pydicom: Any = pytest.importorskip("pydicom")
    source = identified(folder, tmp_path / "scan")
    write_dicom_seg(mask, source, tmp_path / "m.dcm", label_table("synapse").classes)
    content = pydicom.dcmread(tmp_path / "m.dcm")
    (referred,) = content.ReferencedSeriesSequence
    slices = [pydicom.dcmread(file, stop_before_pixels=True) for file in source.iterdir()]
    assert referred.SeriesInstanceUID == "1.2.3.4" and content.StudyInstanceUID == "1.2.3"
    assert {item.ReferencedSOPInstanceUID for item in referred.ReferencedInstanceSequence} == {
        item.SOPInstanceUID for item in slices
    }
    heights = {item.SOPInstanceUID: float(item.ImagePositionPatient[2]) for item in slices}
    for groups in content.PerFrameFunctionalGroupsSequence:
        (source_image,) = itertools.chain.from_iterable(
            item.SourceImageSequence for item in groups.DerivationImageSequence
        )
        height = float(groups.PlanePositionSequence[0].ImagePositionPatient[2])
        assert heights[source_image.ReferencedSOPInstanceUID] == height


@pytest.mark.slow
def test_an_rtstruct_of_the_series_has_the_voxels_of_its_organs(folder: Path, mask: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="needs pip install 'i2net-bundle[dicom]'")
    source, classes = identified(folder, tmp_path / "scan"), label_table("synapse").classes
    write_dicom_seg(mask, source, tmp_path / "m.dcm", classes)
    write_dicom_rtstruct(tmp_path / "m.dcm", tmp_path / "c.dcm", classes)
    found = rasterised(tmp_path / "c.dcm", source)
    assert sorted(found) == np.unique(mask)[1:].tolist()
    assert all(np.array_equal(roi, mask == number) for number, roi in found.items())
