"""Many images become one folder of results; an image that fails does not stop the others."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813, its usual name

from i2net_bundle.prediction import case_files
from i2net_bundle.prediction.case_prediction import Prediction
from i2net_bundle.prediction.cohort import predict_files
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.reports.viewer.view_page import write_view
from tests.checks.ct_files import hu_volume, save
from tests.io.dicom.files import (
    DESCRIPTION,
    OTHER_UID,
    PATIENT,
    SECRETS,
    named_by_uids,
    truncated,
    two_series,
    write_ct,
    write_slice,
)
from tests.io.volume_files import converted

FOLDER_UID = "1.2.840.113.555"


def predictor(weights: Path, **reading: object) -> Predictor:
    return Predictor(weights, overrides={"image_size": [32, 32]}, reading=reading)


def test_every_format_gives_a_mask_and_failures_are_listed(weights: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "scans"
    (inputs / "below").mkdir(parents=True)
    nifti = save(inputs / "ct.nii.gz", hu_volume((20, 18, 5)))
    converted(nifti, ".nrrd").rename(inputs / "below" / "other.nrrd")
    (inputs / "broken.mha").write_bytes(b"no image")
    failed = predict_files([inputs], tmp_path / "out", predictor(weights), pictures=False).failed
    assert failed == [str(inputs / "broken.mha")]
    with (tmp_path / "out" / "failed.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["image"] == failed[0] and "cannot be read" in row["reason"]
    masks = {path.name for path in (tmp_path / "out").glob("*_mask.*")}
    assert masks == {"ct_mask.nii.gz", "other_mask.nrrd"}
    assert set(json.loads((tmp_path / "out" / "statistics.json").read_text())) == {"ct", "other"}


def test_a_chosen_series_gives_nifti_and_dicom_seg_and_no_name_elsewhere(weights: Path, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom", reason="needs pip install 'i2net-bundle[dicom]'")
    pytest.importorskip("highdicom")
    two_series(tmp_path / "study")
    chosen = predictor(weights, series=OTHER_UID, any_intensities=True)
    assert predict_files([tmp_path / "study"], tmp_path / "out", chosen).failed == []
    assert nib.load(tmp_path / "out" / "study_mask.nii.gz").shape == (6, 5, 2)
    (referred,) = pydicom.dcmread(tmp_path / "out" / "study_mask.dcm").ReferencedSeriesSequence
    assert referred.SeriesInstanceUID == OTHER_UID
    others = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.suffix != ".dcm"]
    assert len(others) >= 4
    for path in others:
        assert not any(secret.encode() in path.read_bytes() for secret in PATIENT.values())


@pytest.mark.parametrize(("chosen", "reported"), [(1, 1), (OTHER_UID, "chosen by UID")], ids=["number", "UID"])
def test_the_record_contains_the_number_of_a_series_but_no_uid(
    chosen: int | str, reported: int | str, weights: Path, tmp_path: Path
) -> None:
    two_series(tmp_path / "study")
    predict_files([tmp_path / "study"], tmp_path / "out", predictor(weights, series=chosen), pictures=False)
    record = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert record["reading"]["series"] == reported


def uids_of(folder: Path) -> set[str]:
    """UIDs of a folder's slices, other than those of the standard itself."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file():
            reader = sitk.ImageFileReader()
            reader.SetImageIO("GDCMImageIO")
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            found |= {reader.GetMetaData(key).strip(" \0") for key in reader.GetMetaDataKeys()}
    return {value for value in found if re.fullmatch(r"\d+(\.\d+){2,}", value) and "1.2.840.10008." not in value}


def test_no_output_or_log_identifies_the_patient(
    weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    write_ct(scans / FOLDER_UID, uid="1.2.3.9")
    write_ct(scans / "missing", (0, 5, 10, 20, 25), uid="1.2.3.7")
    write_ct(scans / "DOE^JOHN", uid="1.2.3.8", description=DESCRIPTION)
    write_slice(scans / "DOE^JOHN" / "other.dcm", (-3, -2, 0), uid=OTHER_UID, description=DESCRIPTION)
    truncated(scans / "damaged")
    secrets = {*SECRETS, *uids_of(scans / FOLDER_UID), *uids_of(scans / "DOE^JOHN"), FOLDER_UID, "DOE^JOHN"}
    assert len(secrets) > 12  # those of the slices too
    named_by_uids(scans)
    with caplog.at_level(logging.DEBUG):
        failed = predict_files([scans], out, predictor(weights, any_intensities=True)).failed
        assert 'id="data-0-image"' in write_view(out, inputs=[scans]).read_text(encoding="utf-8")
    assert failed == ["dicom_2", str(scans / "damaged"), str(scans / "missing")]
    assert f"  dicom_1: {scans / FOLDER_UID}\n  dicom_2: {scans / 'DOE^JOHN'}\n" in capsys.readouterr().out

    files = [path for path in out.rglob("*") if path.is_file()]
    assert {"dicom_1_mask.nii.gz", "dicom_1.png", "failed.csv", "statistics.csv"} <= {path.name for path in files}
    reported = "".join(record.getMessage() for record in caplog.records).encode()
    for path in files:
        content = b"" if path.suffix == ".dcm" else path.read_bytes()
        reported += str(path.relative_to(out)).encode() + (
            gzip.decompress(content) if path.suffix == ".gz" else content
        )
    assert [secret for secret in secrets if secret.encode() in reported] == []


def test_images_with_equal_names_in_different_folders_get_different_masks(weights: Path, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"p{number}").mkdir()
        save(tmp_path / f"p{number}" / "ct.nii.gz", np.roll(hu_volume((20, 18, 3)), number, 1))
    predict_files([tmp_path / "p0", tmp_path / "p1"], tmp_path / "out", predictor(weights), pictures=False)
    assert {path.name for path in (tmp_path / "out").glob("*_mask.*")} == {"p0_ct_mask.nii.gz", "p1_ct_mask.nii.gz"}


def test_overwriting_removes_earlier_files_of_the_same_cases_only(weights: Path, tmp_path: Path) -> None:
    image, out = save(tmp_path / "ct.nii.gz", hu_volume((20, 18, 3))), tmp_path / "out"
    (out / "pictures").mkdir(parents=True)
    earlier = ["ct_mask.nrrd", "ct_entropy.nii.gz", "ct_probabilities.nii.gz", "ct.geojson", "pictures/ct.png"]
    for name in [*earlier, "ct_mask.nii.gz", "other_mask.nii.gz", "ct_2_mask.nii.gz"]:
        (out / name).touch()
    assert predict_files([image], out, predictor(weights), pictures=False, overwrite=True).failed == []
    assert nib.load(out / "ct_mask.nii.gz").shape == (20, 18, 3)
    assert {path.name for path in out.glob("*.nii.gz")} == {"ct_mask.nii.gz", "other_mask.nii.gz", "ct_2_mask.nii.gz"}
    assert not any((out / name).exists() for name in earlier)


def test_an_input_is_never_replaced(weights: Path, tmp_path: Path) -> None:
    for name in ("ct.nii.gz", "ct_mask.nii.gz"):
        save(tmp_path / name, hu_volume((20, 18, 3)))
    inputs = [tmp_path / "ct.nii.gz", tmp_path / "ct_mask.nii.gz"]
    with pytest.raises(ValueError, match=r"ct_mask\.nii\.gz is an input and would be replaced"):
        predict_files(inputs, tmp_path, predictor(weights), overwrite=True)
    assert nib.load(tmp_path / "ct_mask.nii.gz").get_data_dtype() == "int16"


@pytest.mark.parametrize("error", [IndexError("out of bounds"), KeyboardInterrupt()], ids=["a case's", "interrupt"])
def test_the_record_is_written_after_any_error(
    error: BaseException, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [save(tmp_path / f"{name}.nii.gz", hu_volume((20, 18, 3))) for name in ("first", "second")]
    network, predict = predictor(weights), Predictor.predict

    def failing(self: Predictor, image: str, case: str) -> Prediction:
        if case == "second":
            raise error
        return predict(self, image, case)

    monkeypatch.setattr(Predictor, "predict", failing)
    if isinstance(error, Exception):
        assert predict_files(inputs, tmp_path / "out", network).failed == [inputs[1]]
        assert (tmp_path / "out" / "failed.csv").read_text().splitlines()[1] == f"{inputs[1]},IndexError: out of bounds"
    else:
        with pytest.raises(KeyboardInterrupt):
            predict_files(inputs, tmp_path / "out", network)
    assert set(json.loads((tmp_path / "out" / "statistics.json").read_text())) == {"first"}
    assert set(json.loads((tmp_path / "out" / "prediction.json").read_text())["seconds"]) == {"first"}


def test_a_picture_that_cannot_be_drawn_is_a_warning(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise IndexError("out of bounds")

    monkeypatch.setattr(case_files, "show_prediction", fail)
    image = save(tmp_path / "ct.nii.gz", hu_volume((20, 18, 3)))
    assert predict_files([image], tmp_path / "out", predictor(weights)).failed == []
    assert "ct: the picture was not drawn (out of bounds)" in caplog.text
    assert (tmp_path / "out" / "ct_mask.nii.gz").is_file() and not list((tmp_path / "out").glob("pictures/*"))


@pytest.mark.parametrize("name", ["ct.img", "ct.hdr"])
def test_a_pair_of_hdr_and_img_files_is_refused(name: str, weights: Path, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(hu_volume((20, 18, 3)), np.eye(4)), tmp_path / "ct.img")
    assert predict_files([tmp_path / name], tmp_path / "out", predictor(weights)).failed == [str(tmp_path / name)]
    assert "pairs are not read. Convert the pair to .nii.gz." in (tmp_path / "out" / "failed.csv").read_text()


def test_findings_are_written_if_there_are_any(weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sound = save(tmp_path / "ct.nii.gz", hu_volume((20, 18, 3)))
    metres = np.diag([-0.002, -0.002, 0.003, 1])
    odd = save(tmp_path / "metres.nii.gz", hu_volume((20, 18, 3)), metres, xyzt_units=1)
    broken = tmp_path / "broken.mha"
    broken.write_bytes(b"no image")
    predict_files([sound], tmp_path / "sound", predictor(weights), pictures=False)
    assert not (tmp_path / "sound" / "data_findings.csv").exists()
    with caplog.at_level(logging.ERROR):
        predict_files([odd, broken], tmp_path / "odd", predictor(weights), pictures=False)
    with (tmp_path / "odd" / "data_findings.csv").open(newline="") as file:
        rows = [(row["severity"], row["rule"], row["file"]) for row in csv.DictReader(file)]
    assert rows == [("warning", "units", odd), ("error", "unreadable", str(broken))]
    (reported,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert reported.startswith(f"{broken}: cannot be read")  # and does not name the file twice


def test_a_segmentation_inside_a_dicom_folder_is_not_read_as_its_slices(weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    scan, network = write_ct(tmp_path / "scan"), predictor(weights, any_intensities=True)
    for _ in range(2):
        assert predict_files([scan], scan / "out", network, pictures=False, overwrite=True).failed == []
    assert {path.name for path in (scan / "out").glob("*_mask.*")} == {"scan_mask.nii.gz", "scan_mask.dcm"}
    assert nib.load(scan / "out" / "scan_mask.nii.gz").shape == (6, 5, 4)
