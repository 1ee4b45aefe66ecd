"""A series that is not one complete regular volume is refused, and the message names the attribute or the slices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2net_bundle.io.dicom.series import list_series
from i2net_bundle.io.dicom.series_checks import series_findings
from i2net_bundle.io.dicom.volume import read_series
from i2net_bundle.io.findings import DataError, Severity
from tests.io.dicom.files import SECRETS, edit, multiframe, of_two_sizes, tilted, write_ct, write_slice

REEXPORT = r"\. Export the series again from the PACS, unprocessed\.$"


def setting(only: int | None = None, **attributes: Any) -> Callable[[Path], object]:
    """Write a series and set attributes of all slices, or of one; None removes an attribute."""

    def change(content: Any, number: int) -> None:
        for name, value in attributes.items():
            if only not in (None, number):
                continue
            if value is None:
                content.pop(name, None)
            else:
                setattr(content, name, value)

    return lambda folder: edit(write_ct(folder), change)


def moved(*slices: int, along_x_mm: float = 40) -> Callable[[Path], object]:
    """Write ten slices and move some of them within their plane."""

    def write(folder: Path) -> None:
        for number in range(10):
            x = -3 + (along_x_mm if number in slices else 0)
            write_slice(folder / f"{number}.dcm", (x, -2, 5 * number), value=number)

    return write


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no PixelSpacing": (setting(PixelSpacing=None), r"has 4 of 4 slices with no PixelSpacing" + REEXPORT),
    "empty PixelSpacing": (setting(PixelSpacing=""), r"4 of 4 slices with no PixelSpacing" + REEXPORT),
    "no PixelSpacing of one slice": (setting(2, PixelSpacing=None), r"has 1 of 4 slices with no PixelSpacing"),
    "zero PixelSpacing": (setting(PixelSpacing=[0, 0]), r"slices with a PixelSpacing of 0 × 0 mm" + REEXPORT),
    "negative PixelSpacing": (setting(PixelSpacing=[0.5, -1]), r"slices with a PixelSpacing of 0\.5 × -1 mm"),
    "one number for PixelSpacing": (setting(PixelSpacing=[0.5]), r"slices with an invalid PixelSpacing"),
    "no position": (setting(1, ImagePositionPatient=None), r"has 1 of 4 slices with no ImagePositionPatient"),
    "no orientation": (setting(ImageOrientationPatient=None), r"4 of 4 slices with no ImageOrientationPatient"),
    "oblique axes": (
        setting(ImageOrientationPatient=[1, 0, 0, 0.1, 0.995, 0]),
        r"slices with an ImageOrientationPatient that is not two perpendicular unit vectors" + REEXPORT,
    ),
    "axes of another length": (
        setting(ImageOrientationPatient=[2, 0, 0, 0, 2, 0]),
        r"slices with an ImageOrientationPatient that is not two perpendicular unit vectors",
    ),
    "zero axes": (
        setting(ImageOrientationPatient=[0, 0, 0, 0, 0, 0]),
        r"slices with an ImageOrientationPatient that is not two perpendicular unit vectors",
    ),
    "MONOCHROME1": (
        setting(PhotometricInterpretation="MONOCHROME1"),
        r"has 4 of 4 slices with PhotometricInterpretation MONOCHROME1 instead of MONOCHROME2" + REEXPORT,
    ),
    "slope of 0": (setting(RescaleSlope=0), r"4 of 4 slices with a RescaleSlope of 0"),
    "negative slope": (setting(RescaleSlope=-1), r"4 of 4 slices with a RescaleSlope of -1" + REEXPORT),
    "bits at the other end": (
        setting(BitsStored=12, HighBit=15),
        r"4 of 4 slices with a HighBit of 15, which does not fit 12 BitsStored" + REEXPORT,
    ),
    "rescale of some slices only": (
        setting(0, RescaleSlope=None, RescaleIntercept=None),
        r"has 1 of 4 slices with no RescaleSlope and RescaleIntercept, unlike the others",
    ),
    "electron density": (
        setting(RescaleType="ED"),
        r"has the RescaleType ED instead of HU\. Choose a series in Hounsfield units",
    ),
    "missing slice": (
        lambda folder: write_ct(folder, (0, 5, 10, 20, 25)),
        r"has missing slices or irregular spacing: 10 mm between slices 3 and 4 "
        r"\(at 10\.0 and 20\.0 mm\), but mostly 5 mm\. Export the whole",
    ),
    "irregular spacing": (
        lambda folder: write_ct(folder, (0, 5, 10.8, 15, 20)),
        r"has missing slices or irregular spacing: 5\.8 mm between slices 2 and 3 \(at 5\.0 and 10\.8 mm\)",
    ),
    "duplicates": (
        lambda folder: write_ct(folder, (0, 5, 5, 10, 10)),
        r"has 2 repeated slice positions, the first at slices 2 and 3 \(at 5\.0 and 5\.0 mm\)\. Keep one slice per",
    ),
    "gantry tilt": (tilted, r"was acquired with the gantry tilted by 15\.0°\. Convert it with dcm2niix"),
    "block off its line": (
        moved(4, 5, 6),
        r"has 3 slices \(5 to 7\) up to 40\.0 mm out of line with the other slices, in-plane\. Check that all slices",
    ),
    "first slice off its line": (
        moved(0, along_x_mm=2),
        r"has slice 1 up to 2\.0 mm out of line with the other slices",
    ),
    "block off its line by less than a pixel": (
        moved(4, 5, 6, along_x_mm=0.6),
        r"has 3 slices \(5 to 7\) up to 0\.6 mm out of line with the other slices",
    ),
    "one of two slices off its line": (
        lambda folder: edit(
            write_ct(folder, (0, 5)),
            lambda content, number: setattr(content, "ImagePositionPatient", [40 * number, 0, 5 * number]),
        ),
        r"has 2 slices \(1 to 2\) up to 20\.0 mm out of line with the other slices",
    ),
    "one slice turned within its plane": (
        setting(2, ImageOrientationPatient=[-1, 0, 0, 0, -1, 0]),
        r"orientation 1\.00, 0\.00, 0\.00, 0\.00, 1\.00, 0\.00, and 6 × 5, .*, orientation -1\.00, 0\.00, 0\.00",
    ),
    "modality of one slice": (setting(1, Modality="MR"), r"has modality CT and MR, not CT\. Choose a CT series"),
    "modality": (lambda folder: write_ct(folder, modality="MR"), r"has modality MR, not CT\. Choose a CT series"),
    "two sizes": (
        of_two_sizes,
        r"mixes slices of different size.*: slices 1 and 5 \(at 0\.0 and 20\.0 mm\) are 6 × 5, .*, "
        r"and 7 × 5, .*\. Keep the slices",
    ),
    "multi-frame": (multiframe, r"stores 3 slices in one file \(multi-frame\)\. Convert it with dcm2niix"),
}


@pytest.mark.parametrize(("write", "message"), FAULTS.values(), ids=FAULTS)
def test_a_faulty_series_is_refused_without_a_word_on_the_patient(
    write: Callable[[Path], object],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(tmp_path / "scan")
    with pytest.raises(DataError, match=rf"scan: .*{message}") as caught:
        read_series(tmp_path / "scan")
    assert {finding.severity for finding in caught.value.findings} == {Severity.ERROR}
    reported = str(caught.value) + repr(caught.value.findings) + "".join(capfd.readouterr()) + caplog.text
    assert not any(secret in reported for secret in SECRETS)


@pytest.mark.parametrize("unit", ["HU", None, "hu "])
def test_a_ct_is_in_hounsfield_units_unless_it_declares_another_unit(unit: str | None, tmp_path: Path) -> None:
    setting(RescaleType=unit)(tmp_path)
    assert read_series(tmp_path)[1] == []


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"RescaleType": "US"}, "has the RescaleType US (unspecified) instead of HU"),
        ({"RescaleSlope": None, "RescaleIntercept": None}, "the stored values were taken as Hounsfield units"),
    ],
    ids=["unspecified", "no rescale"],
)
def test_a_ct_whose_unit_is_unknown_is_read_with_a_warning(
    attributes: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    setting(**attributes)(tmp_path)
    (found,) = read_series(tmp_path)[1]
    assert (found.severity, found.rule) == (Severity.WARNING, "dicom-unit")
    assert problem in found.problem


def test_a_slice_off_by_less_than_a_tenth_of_the_spacing_is_allowed(tmp_path: Path) -> None:
    write_ct(tmp_path, (0, 5.4, 10, 15))
    assert read_series(tmp_path)[0].spacing[2] == pytest.approx(5)


def test_a_slice_off_its_line_by_less_than_half_a_pixel_is_allowed(tmp_path: Path) -> None:
    moved(4, along_x_mm=0.3)(tmp_path)  # a pixel is 0.8 mm wide
    assert read_series(tmp_path)[0].size[2] == 10


def test_every_fault_of_a_series_is_returned(tmp_path: Path) -> None:
    for number, height in enumerate((0, 5, 15, 20)):
        write_slice(tmp_path / f"{number}.dcm", (-3, -2 + 0.1 * height, height), modality="PT")
    (series,) = list_series(tmp_path)
    rules = [finding.rule for finding in series_findings(tmp_path, series)]
    assert rules == ["dicom-modality", "dicom-tilt", "dicom-spacing"]


def test_an_oblique_series_is_read_along_its_normal(tmp_path: Path) -> None:
    cosine, sine = np.cos(0.3), np.sin(0.3)
    orientation = [round(value, 9) for value in (1, 0, 0, 0, cosine, sine)]
    normal = np.cross(orientation[:3], orientation[3:])
    for number in range(4):
        write_slice(tmp_path / f"{number}.dcm", 5 * number * normal, orientation=orientation, value=number)
    image, findings = read_series(tmp_path)
    assert findings == []
    assert image.spacing[2] == pytest.approx(5, abs=1e-4)
    assert np.reshape(image.direction, (3, 3))[:, 2] == pytest.approx(normal, abs=1e-6)
