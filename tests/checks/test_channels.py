"""Volumes of several channels and of other modalities than CT are read, and refused, channel by channel."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813, its usual name

from i2net_bundle.checks import check_case
from i2net_bundle.checks.dataset import check_path
from i2net_bundle.checks.scans import check_volume, load_volume, load_volume_pair
from i2net_bundle.checks.verified import Verdicts
from i2net_bundle.data import load_cases
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.options import VolumeOptions
from tests.checks.ct_files import AFFINE, SHAPE, hu_volume, label_volume, save
from tests.checks.mr_files import MR, mr_volume, write_channels


def test_one_file_per_channel_is_stacked_in_their_order(tmp_path: Path) -> None:
    image, findings = load_volume(write_channels(tmp_path), MR)
    assert findings == []
    assert (image.shape, image.get_data_dtype()) == ((*SHAPE, 2), np.int16)
    np.testing.assert_array_equal(np.asarray(image.dataobj)[..., 0], mr_volume(0))
    np.testing.assert_array_equal(np.asarray(image.dataobj)[..., 1], mr_volume(1, 1000.0))
    np.testing.assert_allclose(image.affine, AFFINE)


def test_the_volumes_of_a_4d_file_are_its_channels(tmp_path: Path) -> None:
    stacked = np.stack([mr_volume(0), mr_volume(1, 1000.0)], axis=-1)
    image, findings = load_volume(save(tmp_path / "p.nii.gz", stacked), MR)
    assert findings == []
    np.testing.assert_array_equal(np.asarray(image.dataobj), stacked)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"], ids=["a fourth axis", "numbers per voxel"])
def test_a_file_of_itk_with_several_volumes_gives_the_same(tmp_path: Path, suffix: str) -> None:
    arrays = [mr_volume(0), mr_volume(1)]
    parts = [sitk.GetImageFromArray(array.T) for array in arrays]
    for part in parts:
        part.SetSpacing((2.0, 2.0, 3.0))
    path = tmp_path / f"p{suffix}"
    sitk.WriteImage(sitk.Compose(parts) if suffix == ".nrrd" else sitk.JoinSeries(parts), str(path))
    image, _ = load_volume(path, MR)
    np.testing.assert_array_equal(np.asarray(image.dataobj), np.stack(arrays, axis=-1))


@pytest.mark.parametrize(("shape", "held"), [((*SHAPE, 3), "3 volumes"), (SHAPE, "one volume")], ids=["three", "one"])
def test_a_file_of_another_number_of_volumes_is_refused_with_the_channels(
    tmp_path: Path, shape: tuple[int, ...], held: str
) -> None:
    path = save(tmp_path / "p.nii.gz", np.random.default_rng(0).integers(0, 900, shape).astype(np.int16))
    message = rf"p\.nii\.gz: contains {held}, and the channels are T2, ADC\. Provide one file per"
    with pytest.raises(DataError, match=message):
        load_volume(path, MR)


def test_channels_on_different_grids_are_refused_and_both_files_named(tmp_path: Path) -> None:
    shifted = AFFINE.copy()
    shifted[2, 3] += 4.5
    files = write_channels(tmp_path, shifted)
    with pytest.raises(DataError, match=r"p_0001\.nii\.gz: is 4\.5 mm away from the first channel .*p_0000\.nii\.gz"):
        load_volume(files, MR)


def test_channels_of_different_shapes_are_refused_and_both_files_named(tmp_path: Path) -> None:
    files = write_channels(tmp_path)
    save(tmp_path / "p_0001.nii.gz", mr_volume()[:, :, :5])
    with pytest.raises(DataError, match=r"p_0001\.nii\.gz: has shape .*, the first channel .*p_0000\.nii\.gz"):
        load_volume(files, MR)


def test_another_number_of_files_than_channels_is_refused(tmp_path: Path) -> None:
    files = write_channels(tmp_path)
    with pytest.raises(DataError, match=r"comes with 2 files, and the channels are T1, T2, ADC"):
        load_volume(files, VolumeOptions(channels=("T1", "T2", "ADC")))


@pytest.mark.parametrize("channel", ["MR", "T2", "noNorm", "zscore", "PET"])
def test_what_is_no_ct_is_not_checked_for_hounsfield_units(tmp_path: Path, channel: str) -> None:
    path = save(tmp_path / "a.nii.gz", mr_volume())
    assert [finding.rule for finding in check_volume(path, None, VolumeOptions())] == ["not-ct"]
    assert check_volume(path, None, VolumeOptions(channels=(channel,))) == []


@pytest.mark.parametrize("name", ["CT", "ct"])
def test_the_ct_among_several_channels_is_checked(tmp_path: Path, name: str) -> None:
    files = [save(tmp_path / "a.nii.gz", hu_volume() + np.int16(1024)), save(tmp_path / "b.nii.gz", mr_volume())]
    options = VolumeOptions(channels=(name, "PET"))
    (found,) = check_volume(files, None, options)
    assert (found.rule, found.file) == ("offset", files[0])
    shifted, _ = load_volume(files, VolumeOptions(channels=(name, "PET"), hu_offset=-1024))
    np.testing.assert_array_equal(np.asarray(shifted.dataobj)[..., 0], hu_volume())
    np.testing.assert_array_equal(np.asarray(shifted.dataobj)[..., 1], mr_volume())


def test_a_channel_without_a_finite_value_is_named(tmp_path: Path) -> None:
    broken = mr_volume(1).astype(np.float32)
    broken[0, 0, :3] = np.nan
    files = [save(tmp_path / "a.nii.gz", mr_volume()), save(tmp_path / "b.nii.gz", broken)]
    (found,) = check_volume(files, None, MR)
    assert (found.rule, found.file) == ("nonfinite", files[1])


def test_an_empty_channel_is_an_error_alone_and_a_warning_beside_others(tmp_path: Path) -> None:
    files = [save(tmp_path / "a.nii.gz", mr_volume()), save(tmp_path / "b.nii.gz", np.zeros(SHAPE, np.int16))]
    (beside,) = check_volume(files, None, MR)
    (alone,) = check_volume(files[1], None, VolumeOptions(channels=("ADC",)))
    assert (beside.severity, alone.severity) == ("warning", "error")
    assert beside.problem == "contains one value, 0, as channel ADC"


def test_a_label_is_compared_with_the_grid_of_the_channels(tmp_path: Path) -> None:
    files = write_channels(tmp_path)
    label = save(tmp_path / "label.nii.gz", label_volume())
    image, found, findings = load_volume_pair(files, label, MR)
    assert (image.shape, found.shape, findings) == ((*SHAPE, 2), SHAPE, [])
    shifted = AFFINE.copy()
    shifted[2, 3] += 4.5
    save(tmp_path / "label.nii.gz", label_volume(), shifted)
    with pytest.raises(DataError, match=r"label\.nii\.gz: is 4\.5 mm away from its image .*p_0000\.nii\.gz"):
        load_volume_pair(files, label, MR)


def test_a_case_of_several_channels_is_checked_once_and_again_when_any_of_its_files_changes(tmp_path: Path) -> None:
    case = {"image": write_channels(tmp_path), "label": save(tmp_path / "label.nii.gz", label_volume())}
    verdicts = Verdicts(tmp_path / "cache")
    assert check_case(case, MR, verdicts) == []
    assert len(verdicts.known) == 1
    save(tmp_path / "p_0001.nii.gz", mr_volume(1)[:, :, :5])
    assert [finding.rule for finding in check_case(case, MR, verdicts)] == ["channel-grid"]


def test_ignored_labels_are_allowed_beyond_the_classes(tmp_path: Path) -> None:
    labels = np.where(label_volume() < 3, label_volume(), 7).astype(np.uint8)
    path = save(tmp_path / "label.nii.gz", labels)
    image = save(tmp_path / "image.nii.gz", mr_volume())
    options = VolumeOptions(classes=("background", "a", "b"), channels=("T2",), ignore_id=7)
    assert check_volume(image, path, options) == []
    (found,) = check_volume(image, path, VolumeOptions(classes=("background", "a", "b"), channels=("T2",)))
    assert found.problem == "contains 7, which is no class; the classes are 0 to 2 (background, a, b)"
    assert np.asarray(nib.load(path).dataobj).max() == 7


# Whole data sets


def write_set(folder: Path, **splits: list[list[np.ndarray]]) -> Path:
    """A data set of two channels whose labels contain classes 0 to 2."""
    lists: dict[str, list[dict[str, object]]] = {}
    for split, cases in splits.items():
        for number, channels in enumerate(cases):
            files = [f"{split}_{number}_{channel}.nii.gz" for channel in range(len(channels))]
            for file, voxels in zip(files, channels, strict=True):
                save(folder / file, voxels)
            save(folder / f"{split}_{number}_label.nii.gz", label_volume() % 3)
            image = files if len(files) > 1 else files[0]
            lists.setdefault(split, []).append({"image": image, "label": f"{split}_{number}_label.nii.gz"})
    header = {"modality": {"0": "T2", "1": "ADC"}, "labels": {"0": "background", "1": "zone", "2": "lesion"}}
    (folder / "dataset.json").write_text(json.dumps({**header, **lists}), encoding="utf-8")
    return folder


def test_a_decathlon_folder_of_4d_files_is_checked_by_its_channels(tmp_path: Path) -> None:
    write_set(tmp_path, training=[[np.stack([mr_volume(0), mr_volume(1)], axis=-1)]])
    report = check_path(tmp_path)
    assert report.findings == []
    assert (report.channels, report.classes) == (["T2", "ADC"], ["background", "zone", "lesion"])


def test_a_case_is_shared_where_all_its_channels_are(tmp_path: Path) -> None:
    channels = [mr_volume(0), mr_volume(1)]
    write_set(tmp_path, training=[channels], test=[channels])
    assert [finding.rule for finding in check_path(tmp_path).findings] == ["shared-case"]
    with pytest.raises(ValueError, match=r"training_0_0\.nii\.gz of 'training' is the same image as test_0_0\.nii\.gz"):
        load_cases(tmp_path, "training")


def test_an_empty_channel_that_two_cases_have_does_not_make_them_one(tmp_path: Path) -> None:
    empty = np.zeros(SHAPE, np.int16)
    write_set(tmp_path, training=[[mr_volume(0), empty]], test=[[mr_volume(1), empty]])
    assert {finding.rule for finding in check_path(tmp_path).findings} == {"constant"}
    assert len(load_cases(tmp_path, "training")) == 1
