"""Every organ keeps its voxels, name and side in every form of abdominal CT."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  the library's own abbreviation

from i2net_bundle.checks.dataset import check_path
from i2net_bundle.data.phantoms import ct_phantom
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.prepare import prepare_synapse
from i2net_bundle.prepare.ct_cases import TEST_CASES, TRAINING_CASES
from i2net_bundle.prepare.transunet_files import read_transunet
from i2net_bundle.transforms import volume_reading
from tests.prepare.ct_lookalikes import (
    RAW_ID,
    SHAPE,
    SPACING_MM,
    mirrored,
    patient,
    stored,
    write_btcv,
    write_transunet,
)

KEYS = ("image", "label")


def label_of(prepared: Path, number: int) -> nib.Nifti1Image:
    (path,) = prepared.parent.glob(f"labels*/case{number:04d}.nii.gz")
    return nib.load(path)


def centre_mm(label: nib.Nifti1Image, index: int) -> np.ndarray:
    """Mean RAS position of a label's voxels, by SimpleITK's reading of the file."""
    image = sitk.ReadImage(label.get_filename())
    voxels = np.argwhere(sitk.GetArrayFromImage(image).transpose(2, 1, 0) == index)
    lps = np.mean([image.TransformIndexToPhysicalPoint(voxel.tolist()) for voxel in voxels], axis=0)
    return lps * (-1, -1, 1)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw BTCV: five LPS cases and two LAS ones, one without a gallbladder, one image mirrored against its label."""
    folder = tmp_path_factory.mktemp("sources") / "raw"
    return write_btcv(folder, [5, 6, 7, 8, 22], las=[6, 22], without_gallbladder=[7], mirrored_image=[8])


@pytest.fixture(scope="module")
def prepared(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw cases prepared, by the label's header where the two disagree."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    return prepare_synapse(raw, out, options=VolumeOptions(geometry="label"), allow_missing=True)


@pytest.mark.parametrize("number", [5, 6, 7, 8, 22])
def test_every_organ_keeps_its_voxels(raw: Path, prepared: Path, number: int) -> None:
    before = np.bincount(
        np.asarray(nib.load(raw / "label" / f"label{number:04d}.nii.gz").dataobj).ravel(), minlength=14
    )
    after = np.bincount(np.asarray(label_of(prepared, number).dataobj).ravel(), minlength=9)
    assert {ours: after[ours] for ours in RAW_ID} == {ours: before[theirs] for ours, theirs in RAW_ID.items()}
    assert (after[2] == 0) == (number == 7)  # the gallbladder that is not there is not invented
    counts = json.loads(prepared.with_name("manifest.json").read_text())["cases"][f"case{number:04d}"]["label_counts"]
    assert list(counts.values()) == after.tolist()


@pytest.mark.parametrize("number", [5, 6, 7, 8, 22], ids=lambda number: f"case {number}")
def test_the_kidneys_are_on_their_own_sides_in_world_space(prepared: Path, number: int) -> None:
    label = label_of(prepared, number)
    aorta, left, right = (centre_mm(label, index)[0] for index in (1, 3, 4))
    assert left < aorta < right  # RAS: x grows to the patient's right


def test_files_are_canonical_with_one_geometry_in_every_field(prepared: Path) -> None:
    for path in sorted(prepared.parent.glob("*/*.nii.gz")):
        image = nib.load(path)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        np.testing.assert_allclose(image.get_sform(), image.get_qform(), atol=1e-4)
        assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
        assert image.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_allclose(image.header.get_zooms(), SPACING_MM, atol=1e-5)
    assert not check_path(prepared.parent).findings


def test_images_keep_their_hounsfield_units_and_stay_aligned_with_their_labels(prepared: Path) -> None:
    for number in (5, 6, 8):
        (path,) = prepared.parent.glob(f"images*/case{number:04d}.nii.gz")
        image, label = nib.load(path), label_of(prepared, number)
        expected = patient(number)[0]
        np.testing.assert_array_equal(np.asarray(image.dataobj), expected)
        np.testing.assert_allclose(image.affine, label.affine)


def test_the_paper_s_split_is_kept_and_counts_18_and_12(prepared: Path) -> None:
    assert (len(set(TRAINING_CASES)), len(set(TEST_CASES))) == (18, 12)
    assert len({*TRAINING_CASES, *TEST_CASES}) == 30
    contents = json.loads(prepared.read_text())
    cases = {split: [Path(case["image"]).name for case in contents[split]] for split in ("training", "test")}
    assert cases == {
        "training": ["case0005.nii.gz", "case0006.nii.gz", "case0007.nii.gz"],
        "test": ["case0008.nii.gz", "case0022.nii.gz"],
    }


def test_a_mirrored_image_is_refused_with_both_headers_and_what_the_organs_say(raw: Path, tmp_path: Path) -> None:
    prepared = prepare_synapse(raw, tmp_path / "out", allow_missing=True)
    assert len(json.loads(prepared.read_text())["test"]) == 1  # the others are done
    failed = (tmp_path / "out" / "failed.csv").read_text()
    assert "label0008.nii.gz" in failed
    assert re.search(r"the image is RPS.*the label is LPS", failed)
    assert "by the image's header the patient seems mirrored left to right" in failed
    assert "by the label's header every organ is in its place" in failed
    assert "--geometry" in failed


def test_headers_that_disagree_are_reported_before_undeclared_labels(tmp_path: Path) -> None:
    source = write_btcv(tmp_path / "raw", [5], mirrored_image=[5])
    path = source / "label" / "label0005.nii.gz"
    label = nib.load(path)
    changed = np.asarray(label.dataobj).copy()
    changed[0, 0, 0] = 14
    nib.save(nib.Nifti1Image(changed, label.affine, label.header), path)
    with pytest.raises(DataError, match=r"label0005\.nii\.gz: is .* mm away from its image .*--geometry"):
        prepare_synapse(source, tmp_path / "out", allow_missing=True)


def test_missing_cases_are_named_and_nothing_is_written(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"lacks 25 files: case 0009, .*--allow-missing"):
        prepare_synapse(raw, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_missing_label_counts_as_missing(raw: Path, tmp_path: Path) -> None:
    source = write_btcv(tmp_path / "raw", [5, 6])
    (source / "label" / "label0006.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match="label of case 0006"):
        prepare_synapse(source, tmp_path / "out")


def test_the_archive_is_accepted_as_downloaded(raw: Path, prepared: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "RawData.zip", "w") as archive:
        for path in raw.rglob("*.nii.gz"):
            archive.write(path, Path("RawData", "Training", path.relative_to(raw)))
    unpacked = prepare_synapse(
        tmp_path / "RawData.zip", tmp_path / "out", options=VolumeOptions(geometry="label"), allow_missing=True
    )
    assert unpacked.read_text() == prepared.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["RawData.zip", "out"]


def test_undeclared_labels_are_refused_with_the_numberings_to_choose_from(tmp_path: Path) -> None:
    source = write_btcv(tmp_path / "raw", [5])
    path = source / "label" / "label0005.nii.gz"
    label = nib.load(path)
    changed = np.asarray(label.dataobj).copy()
    changed[0, 0, 0] = 14
    nib.save(nib.Nifti1Image(changed, label.affine, label.header), path)
    with pytest.raises(
        DataError, match=r"label0005\.nii\.gz: contains labels 14, .*--numbering \(btcv, transunet, btcv8\)"
    ):
        prepare_synapse(source, tmp_path / "out", allow_missing=True)


@pytest.mark.parametrize("orientation", ["SLA", "SLP", "SPL", "SAR", "IRP"])
def test_transunet_s_arrays_are_brought_to_the_orientation_of_nifti(tmp_path: Path, orientation: str) -> None:
    source = write_transunet(tmp_path / "tu", [5], [8], orientation)
    prepared = prepare_synapse(source, tmp_path / "out", allow_missing=True)
    for number in (5, 8):
        image, label = ct_phantom(number, SHAPE, SPACING_MM)
        np.testing.assert_array_equal(np.asarray(label_of(prepared, number).dataobj), label)
        (path,) = prepared.parent.glob(f"images*/case{number:04d}.nii.gz")
        np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), np.clip(image, -125, 275))
    found = json.loads(prepared.with_name("manifest.json").read_text())["cases"]["case0005"]["orientation"]
    assert found == orientation


def test_slices_of_both_sources_show_the_network_the_same(prepared: Path, tmp_path: Path) -> None:
    other = prepare_synapse(write_transunet(tmp_path / "tu", [5], [8], "SLA"), tmp_path / "out", allow_missing=True)
    seen: list[dict[str, Any]] = []
    for datalist in (prepared, other):
        case = {key: str(datalist.parent / f"{key}sTr" / "case0005.nii.gz") for key in KEYS}
        seen.append(volume_reading(KEYS)(case))
    np.testing.assert_array_equal(seen[0]["label"], seen[1]["label"])
    np.testing.assert_array_equal(np.clip(seen[0]["image"], -125, 275), seen[1]["image"])
    assert [item["image"].meta["length_unit"] for item in seen] == ["mm", "voxel"]


def test_an_orientation_that_the_organs_do_not_show_is_requested(tmp_path: Path) -> None:
    source = write_transunet(tmp_path / "tu", [5], [], "SLA")
    for path in source.glob("train_npz/*.npz"):
        with np.load(path) as arrays:
            np.savez(path, image=arrays["image"], label=np.where(arrays["label"] == 5, 5, 0))
    with pytest.raises(DataError, match=r"case0005_slice000\.npz: does not show its orientation.*--orientation"):
        prepare_synapse(source, tmp_path / "out", allow_missing=True)


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    source = write_transunet(tmp_path / "tu", [5], [], "SLA")
    (source / "train_npz" / "case0005_slice007.npz").unlink()
    with pytest.raises(DataError, match=r"case0005_slice000\.npz: slices 7 of this case are missing"):
        prepare_synapse(source, tmp_path / "out", allow_missing=True)


def test_a_slice_that_is_no_archive_is_named(tmp_path: Path) -> None:
    source = write_transunet(tmp_path / "tu", [5], [], "SLA")
    (source / "train_npz" / "case0005_slice003.npz").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"case0005_slice003\.npz: cannot be read as TransUNet's file"):
        prepare_synapse(source, tmp_path / "out", allow_missing=True)


def test_slices_in_hounsfield_units_are_not_taken_for_scaled_ones(tmp_path: Path) -> None:
    path = tmp_path / "case0005_slice000.npz"
    np.savez(path, image=np.full((4, 4), 40.0), label=np.zeros((4, 4)))
    with pytest.raises(DataError, match="contains values from 40 to 40, not from 0 to 1"):
        read_transunet([path], "SLA")


def test_the_error_for_an_unknown_source_lists_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty is not known: looked for img/img0001\.nii\.gz"):
        prepare_synapse(tmp_path / "empty", tmp_path / "out")


def test_a_folder_that_is_not_empty_is_never_written_to(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        prepare_synapse(raw, tmp_path, allow_missing=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_names_in_a_header_do_not_reach_the_prepared_files(tmp_path: Path) -> None:
    source = write_btcv(tmp_path / "raw", [5])
    path = source / "img" / "img0005.nii.gz"
    image = nib.load(path)
    image.header["descrip"], image.header["db_name"] = b"Doe^Jane 1970", b"Doe^Jane"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Doe^Jane"))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), path)
    prepared = prepare_synapse(source, tmp_path / "out", allow_missing=True)
    for file in prepared.parent.rglob("*.*"):
        content = nib.load(file).to_bytes() if file.name.endswith(".nii.gz") else file.read_bytes()
        assert b"Doe" not in content


def test_the_manifest_contains_hashes_shapes_and_versions_and_no_path_of_the_machine(raw: Path, prepared: Path) -> None:
    text = prepared.with_name("manifest.json").read_text()
    manifest = json.loads(text)
    case = manifest["cases"]["case0006"]
    assert case["shape"] == list(SHAPE)
    assert case["spacing_mm"] == pytest.approx(SPACING_MM)
    assert all(re.fullmatch(r"[0-9a-f]{64}", part["sha256"]) for part in case["sources"].values())
    assert {"i2net_bundle", "nibabel", "numpy"} <= manifest["versions"].keys()
    assert str(raw) not in text


def test_the_lookalikes_mirror_what_they_say() -> None:
    image = stored(patient(5)[0], "LPS")
    assert nib.aff2axcodes(mirrored(image).affine) == ("R", "P", "S")
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (0, 1)
