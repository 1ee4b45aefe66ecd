"""Faults of DICOM folders."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.config import disable_value_validation

from i2net_bundle.io.dicom import dicom_rtstruct
from i2net_bundle.io.dicom.dicom_seg import write_dicom_seg
from i2net_bundle.io.dicom.volume import read_series
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.nifti import refuse_other_content
from i2net_bundle.labels import classes_of
from i2net_bundle.prediction.case_files import Extras, write_prediction
from i2net_bundle.prediction.case_prediction import Prediction
from tests.checks.ct_files import hu_volume, save
from tests.docs.faults.table import WARNING, Make, Printed, found, logged, refused
from tests.io.dicom.files import edit, multiframe, of_two_sizes, tilted, truncated, two_series, write_ct, write_scout
from tests.io.dicom.test_headers import compressed
from tests.io.dicom.test_series_checks import moved, setting
from tests.io.dicom.test_volume import pad, store


def series(write: Callable[[Path], object], chosen: int | str | None = None, ct: bool = True) -> Make:
    """A folder `dicom` that is read."""

    def make(folder: Path) -> Printed:
        write(folder / "dicom")
        try:
            return found(read_series(folder / "dicom", chosen, ct)[1])
        except DataError as error:
            return found(error.findings)

    return make


def one_slice(folder: Path) -> Printed:
    write_ct(folder)
    return refused(lambda: refuse_other_content(folder / "1.dcm"))


def no_dicom(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.txt").write_text("text")


def two_truncated(folder: Path) -> None:
    truncated(folder)
    content = (folder / "2.dcm").read_bytes()
    (folder / "2.dcm").write_bytes(content[:-20])


def damaged_pixels(folder: Path) -> None:
    """One slice says that its pixels are run-length encoded, which they are not."""
    edit(write_ct(folder), _claim_run_lengths)


def _claim_run_lengths(content: pydicom.Dataset, number: int) -> None:
    if number == 1:
        content.compress(pydicom.uid.RLELossless)
        content.PixelData = content.PixelData[:-8] + bytes(8)


def deflated(folder: Path) -> None:
    def change(content: pydicom.Dataset, number: int) -> None:
        if number == 1:
            content.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian

    edit(write_ct(folder), change)


def claims_gigabytes(folder: Path) -> None:
    def change(content: pydicom.Dataset, number: int) -> None:
        compressed(content, pydicom.uid.RLELossless, bytes(2000))
        content.Rows, content.Columns = 4096, 8000  # 62.5 MiB each

    edit(write_ct(folder, range(0, 150, 5)), change)


def claims_more_pixels(folder: Path) -> None:
    def change(content: pydicom.Dataset, number: int) -> None:
        if number == 1:
            content.Rows = 50

    edit(write_ct(folder), change)


def objects_beside(folder: Path) -> None:
    write_ct(folder)
    (folder / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    report = pydicom.dcmread(folder / "0.dcm")
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = pydicom.uid.EncapsulatedPDFStorage
    for name in ("PixelData", "ImagePositionPatient", "Rows", "Columns", "SamplesPerPixel"):
        delattr(report, name)
    report.save_as(folder / "report.dcm")


def only_objects(folder: Path) -> None:
    setting(SOPClassUID=pydicom.uid.SecondaryCaptureImageStorage, SamplesPerPixel=3)(folder)


def own_rescale(folder: Path) -> None:
    edit(write_ct(folder), lambda content, number: store(content, np.full((5, 6), 40), -1024 if number else 0))


def without_preamble(folder: Path) -> None:
    for path in write_ct(folder).iterdir():
        path.write_bytes(path.read_bytes()[132:])


def without_study(folder: Path) -> Printed:
    edit(write_ct(folder / "dicom"), lambda content, _: (content.pop("StudyInstanceUID"), None)[1])
    return logged(lambda: _write_seg(folder))


def stripped(folder: Path) -> Printed:
    setting(FrameOfReferenceUID=None)(folder / "dicom")
    printed = refused(lambda: _write_seg(folder))
    return Printed(WARNING, f"no DICOM-SEG of dicom, only NIfTI: {printed.text}")


def malformed(folder: Path) -> Printed:
    with disable_value_validation():
        setting(PatientBirthDate="born 3 May 1961")(folder / "dicom")
    return logged(lambda: _write_seg(folder))


def _write_seg(folder: Path) -> None:
    logging.getLogger("highdicom").setLevel(logging.ERROR)
    classes = classes_of(["background", "liver"])
    write_dicom_seg(np.ones((6, 5, 4), np.uint8), folder / "dicom", folder / "m.dcm", classes)


def rtstruct_of(values: int, write: Callable[[Path], object] = write_ct) -> Make:
    """Contours of a mask of one value; at most 20 points are allowed."""

    def make(folder: Path) -> Printed:
        write(folder / "dicom")
        mask = np.full((6, 5, 4), values, np.uint8)
        classes = classes_of(["background", "liver"])
        prediction = Prediction("scan", folder / "dicom", mask, np.eye(4), classes)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dicom_rtstruct, "_MAX_POINTS", 20)
            return logged(lambda: write_prediction(prediction, folder, Extras(rtstruct=True)))

    return make


def rtstruct_of_nifti(folder: Path) -> Printed:
    image = Path(save(folder / "ct.nii.gz", hu_volume((6, 5, 4))))
    mask = np.zeros((6, 5, 4), np.uint8)
    prediction = Prediction("ct", image, mask, np.eye(4), classes_of(["background", "liver"]))
    return logged(lambda: write_prediction(prediction, folder / "masks", Extras(rtstruct=True)))


FAULTS: dict[str, Make] = {
    "slices without study and series UIDs": without_study,
    "slices without attributes that DICOM-SEG requires": stripped,
    "malformed values in attributes of the patient or study": malformed,
    "RTSTRUCT of a series without a DICOM-SEG": rtstruct_of(1, setting(FrameOfReferenceUID=None)),
    "RTSTRUCT of an empty mask": rtstruct_of(0),
    "RTSTRUCT of noise": rtstruct_of(1),
    "RTSTRUCT of a NIfTI file": rtstruct_of_nifti,
    "one slice instead of the folder": one_slice,
    "no folder": series(lambda folder: None),
    "no DICOM in it": series(no_dicom),
    "several series": series(two_series),
    "localisers only": series(write_scout),
    "series number that does not exist": series(two_series, 4),
    "series UID that does not exist": series(two_series, "9.9.8.7"),
    "missing slice, irregular spacing": series(lambda folder: write_ct(folder, (0, 5, 10, 20, 25))),
    "repeated slices": series(lambda folder: write_ct(folder, (0, 5, 5, 10, 10))),
    "slices moved within their plane": series(moved(4, 5, 6)),
    "gantry tilt": series(tilted),
    "PixelSpacing missing or empty": series(setting(PixelSpacing=None)),
    "PixelSpacing of zero": series(setting(PixelSpacing=[0, 0])),
    "PixelSpacing that is not two numbers": series(setting(PixelSpacing=[0.5])),
    "position or orientation missing": series(setting(1, ImagePositionPatient=None)),
    "orientation not at right angles, or not of length 1": series(
        setting(ImageOrientationPatient=[1, 0, 0, 0.1, 0.995, 0])
    ),
    "a single slice without SliceThickness": series(
        lambda folder: edit(write_ct(folder, (0,)), lambda content, _: content.pop("SliceThickness", None))
    ),
    "MONOCHROME1, colours": series(setting(PhotometricInterpretation="MONOCHROME1")),
    "RescaleSlope of 0 or less, or a lookup table": series(setting(RescaleSlope=0)),
    "HighBit that does not fit BitsStored": series(setting(BitsStored=12, HighBit=15)),
    "rescale of some slices only": series(setting(0, RescaleSlope=None, RescaleIntercept=None)),
    "RescaleType other than HU": series(setting(RescaleType="ED")),
    "RescaleType US": series(setting(RescaleType="US")),
    "CT without rescale": series(setting(RescaleSlope=None, RescaleIntercept=None)),
    "padding brighter than air": series(
        lambda folder: edit(write_ct(folder), lambda content, _: pad(content, 63536, 16))
    ),
    "negative numbers in unsigned pixels": series(
        lambda folder: edit(write_ct(folder), lambda content, _: pad(content, 63536, 16, declared=False))
    ),
    "pixel representation, slope or intercept that differ between slices": series(own_rescale),
    "MR series for a channel named CT": series(lambda folder: write_ct(folder, modality="MR")),
    "CT series for a channel with another name": series(write_ct, ct=False),
    "mixed slices": series(of_two_sizes),
    "multi-frame file": series(multiframe),
    "other files and objects beside the slices": series(objects_beside),
    "only other DICOM objects": series(only_objects),
    "truncated slices": series(two_truncated),
    "a slice that claims more pixels than it stores": series(claims_more_pixels),
    "compressed slices that claim gigabytes together": series(claims_gigabytes),
    "deflated transfer syntax": series(deflated),
    "damaged pixels": series(damaged_pixels),
    "files without a preamble": series(without_preamble),
}
