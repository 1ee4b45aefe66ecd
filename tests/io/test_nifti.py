"""A NIfTI file is read if its header is unambiguous, otherwise refused with the file, the fault and the remedy."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from i2net_bundle.io.findings import Severity
from i2net_bundle.io.nifti import read_nifti
from i2net_bundle.io.options import VolumeOptions
from tests.checks.ct_files import AFFINE, LAS, hu_volume, save
from tests.io.refusals import refusal

PLAIN = VolumeOptions()
SHEARED = np.array([[-2, 0.5, 0, 30], [0, -2, 0, 20], [0, 0, 3, -60], [0, 0, 0, 1]])
RAW_HEADER_REMEDY = "Correct the header from the scan's own record, or convert the DICOM series again."

# which forms record the orientation
FORMS = pytest.mark.parametrize(
    "codes", [{}, {"sform_code": 0}, {"qform_code": 0}], ids=["both forms", "qform alone", "sform alone"]
)


def test_a_sound_file_is_read_unchanged_without_findings(tmp_path: Path) -> None:
    image, findings = read_nifti(save(tmp_path / "ct.nii.gz", hu_volume()), PLAIN)
    assert findings == []
    np.testing.assert_array_equal(image.dataobj, hu_volume())
    np.testing.assert_array_equal(image.affine, AFFINE)


@FORMS
def test_either_form_is_enough(tmp_path: Path, codes: dict[str, int]) -> None:
    image, findings = read_nifti(save(tmp_path / "ct.nii.gz", hu_volume(), **codes), PLAIN)
    assert findings == []
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)


# Orientation and spacing


def test_sform_and_qform_that_disagree_are_refused_and_both_printed(tmp_path: Path) -> None:
    found = refusal(read_nifti, save(tmp_path / "ct.nii.gz", hu_volume(), AFFINE, qform=LAS))
    assert found.rule == "sform-qform"
    assert found.problem == (
        "has two orientations that disagree: sform LPS, spacing 2 x 2 x 3 mm, origin (30, 20, -60); "
        "qform LAS, spacing 2 x 2 x 3 mm, origin (30, 2, -60)"
    )
    assert found.remedy == "Choose the right one with header: sform or header: qform (--header of i2net)."


@pytest.mark.parametrize(("header", "expected"), [("sform", AFFINE), ("qform", LAS)], ids=["sform", "qform"])
def test_the_chosen_form_is_used_if_the_two_disagree(tmp_path: Path, header: str, expected: np.ndarray) -> None:
    path = save(tmp_path / "ct.nii.gz", hu_volume(), AFFINE, qform=LAS)
    image, findings = read_nifti(path, VolumeOptions(header=header))
    assert findings == []
    np.testing.assert_allclose(image.affine, expected, atol=1e-5)


@pytest.mark.parametrize("header", ["sform", "qform"])
@FORMS
def test_choosing_a_form_does_not_affect_files_whose_forms_agree(
    tmp_path: Path, codes: dict[str, int], header: str
) -> None:
    # one option is given for an image and its label; labels of BTCV have a qform alone
    path = save(tmp_path / "label.nii.gz", hu_volume(), **codes)
    np.testing.assert_allclose(read_nifti(path, VolumeOptions(header=header))[0].affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize(("shift_mm", "passes"), [(0.15, True), (0.25, False)], ids=["under", "over"])
def test_forms_disagree_if_more_than_a_tenth_of_a_voxel_apart(tmp_path: Path, shift_mm: float, passes: bool) -> None:
    qform = AFFINE.copy()
    qform[2, 3] += shift_mm  # the smallest side is 2 mm, so 0.2 mm are allowed
    path = save(tmp_path / "ct.nii.gz", hu_volume(), AFFINE, qform=qform)
    if passes:
        assert read_nifti(path, PLAIN)[1] == []
    else:
        assert refusal(read_nifti, path).rule == "sform-qform"


def test_another_form_of_header_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^header must be sform or qform, got 'affine'\.$"):
        VolumeOptions(header="affine")


def test_a_header_that_nibabel_and_simpleitk_read_differently_is_refused_and_both_printed(tmp_path: Path) -> None:
    # of a lone sform, nibabel takes the spacing from the sform and SimpleITK from pixdim
    path = save(tmp_path / "ct.nii.gz", hu_volume(), qform_code=0, pixdim1=1.0)
    assert nib.affines.voxel_sizes(nib.load(path).affine)[0] == 2
    assert sitk.ReadImage(path).GetSpacing()[0] == 1
    found = refusal(read_nifti, path)
    assert found.rule == "readers"
    assert found.problem == (
        "is read differently: by nibabel LPS, spacing 2 x 2 x 3 mm, origin (30, 20, -60); "
        "by SimpleITK LPS, spacing 1 x 2 x 3 mm, origin (30, 20, -60)"
    )
    assert found.remedy == (
        "If nibabel's reading is right, choose header: sform (--header of i2net); otherwise correct the header."
    )
    image, findings = read_nifti(path, VolumeOptions(header="sform"))
    assert findings == []
    np.testing.assert_array_equal(image.affine, AFFINE)


def test_a_file_that_simpleitk_cannot_open_passes_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti2Image(hu_volume(), AFFINE), path)
    image, (found,) = read_nifti(path, PLAIN)
    np.testing.assert_array_equal(image.affine, AFFINE)
    assert (found.severity, found.rule) == (Severity.WARNING, "readers")
    assert str(found).startswith(f"{path}: cannot be read by SimpleITK (")
    assert found.remedy == ("Programs built on ITK (3D Slicer, MONAI Label) cannot open it; convert it again for them.")


def test_a_sheared_affine_is_kept_with_a_warning(tmp_path: Path) -> None:
    path = save(tmp_path / "ct.nii.gz", hu_volume(), SHEARED, qform=AFFINE, qform_code=0)
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(path)
    image, (found,) = read_nifti(path, PLAIN)
    np.testing.assert_array_equal(image.affine, SHEARED)
    assert found.severity is Severity.WARNING
    assert str(found) == (
        f"{path}: has axes that are not at right angles (a sheared affine). The affine is kept; programs built on ITK "
        "refuse such files."
    )


def test_a_file_without_orientation_is_refused(tmp_path: Path) -> None:
    found = refusal(read_nifti, save(tmp_path / "ct.nii.gz", hu_volume(), sform_code=0, qform_code=0))
    assert found.problem == "does not record its orientation (sform and qform codes are both 0)"
    assert found.remedy == (
        "Use a file that has its header, or convert the DICOM series again; a label without one can use its "
        "image's (geometry: image)."
    )


@pytest.mark.filterwarnings("ignore:invalid value encountered in dot:RuntimeWarning")
@pytest.mark.parametrize(("value", "shown"), [(0, "0"), (np.nan, "nan"), (-2, "-2"), (np.inf, "inf")])
@FORMS
def test_an_impossible_spacing_is_refused(tmp_path: Path, codes: dict[str, int], value: float, shown: str) -> None:
    # nibabel would take 1 for 0, and drop the sign
    found = refusal(read_nifti, save(tmp_path / "ct.nii.gz", hu_volume(), pixdim1=value, **codes))
    assert found.problem == f"has the spacing {shown} x 2 x 3"
    assert found.remedy == RAW_HEADER_REMEDY


@pytest.mark.parametrize(("value", "shown"), [(0, "0"), (np.nan, "nan")], ids=["flat", "NaN"])
def test_a_degenerate_affine_is_refused(tmp_path: Path, value: float, shown: str) -> None:
    found = refusal(read_nifti, save(tmp_path / "ct.nii.gz", hu_volume(), qform_code=0, srow_z3=value))
    column = [shown if np.isnan(value) else "0"] * 2 + [shown]  # NaN spreads in the conversion to mm
    numbers = "-2 x 0 x {} x 30 x 0 x -2 x {} x 20 x 0 x 0 x {} x -60".format(*column)
    assert found.problem == f"has a degenerate affine {numbers}"
    assert found.remedy == "Correct the header, or convert the DICOM series again."


def test_an_affine_whose_axes_run_in_one_direction_is_refused(tmp_path: Path) -> None:
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[2, 0] = 1e20  # the first axis, too, runs to the head
    path = tmp_path / "ct.nii.gz"
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), affine)
    image.set_qform(None, 0)
    image.to_filename(path)
    assert refusal(read_nifti, path).problem.startswith("has a degenerate affine 2 x 0 x 0")


def test_a_quaternion_that_is_not_a_rotation_is_refused(tmp_path: Path) -> None:
    found = refusal(read_nifti, save(tmp_path / "ct.nii.gz", hu_volume(), sform_code=0, quatern_b=1.5))
    assert "w2 should be positive" in found.problem
    assert found.remedy == "Download or copy the file again."


@pytest.mark.parametrize(
    ("code", "unit", "per_mm"), [(1, "meter", 0.001), (3, "micron", 1000.0)], ids=["metres", "micrometres"]
)
def test_other_units_become_millimetres_with_a_warning(tmp_path: Path, code: int, unit: str, per_mm: float) -> None:
    stored = np.diag([per_mm] * 3 + [1.0]) @ AFFINE
    path = save(tmp_path / "ct.nii.gz", hu_volume(), stored, xyzt_units=code)
    image, (found,) = read_nifti(path, PLAIN)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert found.severity is Severity.WARNING
    assert str(found) == (
        f"{path}: records its spacing in {unit}s; converted to 2 x 2 x 3 mm. Check that this is the scan's spacing."
    )


@pytest.mark.parametrize("code", [0, 7], ids=["none", "no code of the standard"])
def test_without_a_known_unit_lengths_are_millimetres(tmp_path: Path, code: int) -> None:
    image, findings = read_nifti(save(tmp_path / "ct.nii.gz", hu_volume(), xyzt_units=code), PLAIN)
    assert findings == []
    np.testing.assert_array_equal(image.affine, AFFINE)


def test_voxels_of_metres_raise_a_warning(tmp_path: Path) -> None:
    path = save(tmp_path / "ct.nii.gz", hu_volume(), xyzt_units=1)
    units, spacing = read_nifti(path, PLAIN)[1]
    assert "converted to 2000 x 2000 x 3000 mm" in units.problem
    assert str(spacing) == (
        f"{path}: has voxels of 2000 x 2000 x 3000 mm. Check the units in the header; volumes and distances depend on "
        "them."
    )


# Voxels


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    hu = hu_volume() + 0.5
    stored = ((hu + 1024) * 2).astype(np.int16)  # HU = 0.5 * stored - 1024
    path = save(tmp_path / "ct.nii.gz", stored, scl_slope=0.5, scl_inter=-1024)
    image, findings = read_nifti(path, PLAIN)
    assert findings == []
    np.testing.assert_array_equal(image.dataobj, hu)


@pytest.mark.parametrize("volume", [None, 3, -1])
def test_a_file_of_several_volumes_is_refused_until_one_is_chosen(tmp_path: Path, volume: int | None) -> None:
    found = refusal(read_nifti, save(tmp_path / "ct.nii.gz", hu_volume((12, 10, 8, 3))), VolumeOptions(volume=volume))
    chosen = "" if volume is None else f", but there is no volume {volume}"
    assert found.problem == f"contains 3 volumes (shape (12, 10, 8, 3)){chosen}"
    assert found.remedy == "Choose one with volume, 0 to 2 (--volume of i2net)."


@pytest.mark.parametrize("volume", [0, 1, 2])
def test_the_chosen_volume_is_read(tmp_path: Path, volume: int) -> None:
    hu = hu_volume((12, 10, 8, 3))
    image, findings = read_nifti(save(tmp_path / "ct.nii.gz", hu), VolumeOptions(volume=volume))
    assert findings == []
    np.testing.assert_array_equal(image.dataobj, hu[..., volume])


@pytest.mark.parametrize("volume", [None, 1], ids=["nothing chosen", "chosen for its label"])
def test_a_fourth_axis_of_length_one_is_dropped(tmp_path: Path, volume: int | None) -> None:
    path = save(tmp_path / "ct.nii.gz", hu_volume()[..., None])
    image, findings = read_nifti(path, VolumeOptions(volume=volume))
    assert findings == []
    np.testing.assert_array_equal(image.dataobj, hu_volume())


def test_a_two_dimensional_file_is_a_volume_of_one_slice(tmp_path: Path) -> None:
    image, findings = read_nifti(save(tmp_path / "slice.nii.gz", hu_volume()[:, :, 0]), PLAIN)
    assert findings == []
    assert image.shape == (12, 10, 1)
    np.testing.assert_array_equal(np.asarray(image.dataobj)[..., 0], hu_volume()[:, :, 0])


@pytest.mark.parametrize("channels", ["RGB", "RGBA"])
def test_colours_are_refused(tmp_path: Path, channels: str) -> None:
    colours = np.zeros((6, 5, 4), [(channel, np.uint8) for channel in channels])
    found = refusal(read_nifti, save(tmp_path / "ct.nii.gz", colours))
    assert found.problem == "contains RGB colours instead of one number per voxel"
    assert found.remedy == "Use the file with the CT numbers or the labels, not a colour rendering of it."


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    found = refusal(read_nifti, save(tmp_path / "ct.nii.gz", hu_volume().astype(np.complex64)))
    assert found.problem == "contains complex numbers"
    assert found.remedy == "Use the magnitude image, or the original CT."


@pytest.mark.parametrize("shape", [(12,), (12, 10, 0)], ids=["a row", "no slice"])
def test_what_is_neither_slice_nor_volume_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    found = refusal(read_nifti, save(tmp_path / "ct.nii", np.zeros(shape, np.int16)))
    assert found.problem == f"has shape {shape}"
    assert found.remedy == "A slice or a volume is needed."
