"""Files and folders -> a folder of results; what fails does not stop the rest."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from i2net_bundle.inference import prediction_files
from i2net_bundle.inference.prediction_files import find_inputs, predict_files
from i2net_bundle.inference.predictor import Prediction, Predictor
from i2net_bundle.networks import synapse_i2net
from tests.checks.ct_files import hu_volume, save
from tests.checks.test_dicom import OTHER_UID, PATIENT, two_series, write_ct
from tests.checks.test_volumes import converted


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of an untrained network."""
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(synapse_i2net().state_dict(), path)
    yield path


def predictor(weights: Path, **reading: object) -> Predictor:
    return Predictor("synapse", weights, overrides={"image_size": [32, 32]}, reading=reading)


def test_every_format_gives_its_mask_and_what_fails_is_listed(weights: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "scans"
    (inputs / "below").mkdir(parents=True)
    nifti = save(inputs / "ct.nii.gz", hu_volume((20, 18, 5)))
    converted(nifti, ".nrrd").rename(inputs / "below" / "other.nrrd")
    (inputs / "broken.mha").write_bytes(b"no image")
    failed = predict_files([inputs], tmp_path / "out", predictor(weights), pictures=False)
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
    assert predict_files([tmp_path / "study"], tmp_path / "out", chosen) == []
    assert nib.load(tmp_path / "out" / "study_mask.nii.gz").shape == (6, 5, 2)
    (referred,) = pydicom.dcmread(tmp_path / "out" / "study_mask.dcm").ReferencedSeriesSequence
    assert referred.SeriesInstanceUID == OTHER_UID
    others = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.suffix != ".dcm"]
    assert len(others) >= 4
    for path in others:
        assert not any(secret.encode() in path.read_bytes() for secret in PATIENT.values())


def test_a_folder_of_dicom_is_one_volume_and_one_of_files_is_many(tmp_path: Path) -> None:
    series = write_ct(tmp_path / "scan")
    save(tmp_path / "ct.nii.gz", hu_volume())
    assert [case["image"] for case in find_inputs([series], is_ct=True)] == [str(series)]
    assert [case["image"] for case in find_inputs([tmp_path], is_ct=True)] == [str(tmp_path / "ct.nii.gz")]


@pytest.mark.parametrize(("name", "is_ct"), [("a.png", True), ("a.nrrd", False), ("a.nii.gz", False)])
def test_a_file_of_the_other_kind_is_refused(name: str, is_ct: bool, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"Choose it with --task"):
        find_inputs([tmp_path / name], is_ct)


def test_an_absent_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing does not exist"):
        find_inputs([tmp_path / "nothing"], is_ct=True)


def test_masks_of_equal_names_in_different_folders_do_not_collide(weights: Path, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"p{number}").mkdir()
        save(tmp_path / f"p{number}" / "ct.nii.gz", np.roll(hu_volume((20, 18, 3)), number, 1))
    predict_files([tmp_path / "p0", tmp_path / "p1"], tmp_path / "out", predictor(weights), pictures=False)
    assert {path.name for path in (tmp_path / "out").glob("*_mask.*")} == {"p0_ct_mask.nii.gz", "p1_ct_mask.nii.gz"}


def test_earlier_files_of_a_case_go_and_those_of_others_stay(weights: Path, tmp_path: Path) -> None:
    image, out = save(tmp_path / "ct.nii.gz", hu_volume((20, 18, 3))), tmp_path / "out"
    (out / "pictures").mkdir(parents=True)
    earlier = ["ct_mask.nrrd", "ct_entropy.nii.gz", "ct_probabilities.nii.gz", "ct.geojson", "pictures/ct.png"]
    for name in [*earlier, "ct_mask.nii.gz", "other_mask.nii.gz", "ct_2_mask.nii.gz"]:
        (out / name).touch()
    assert predict_files([image], out, predictor(weights), pictures=False, overwrite=True) == []
    assert nib.load(out / "ct_mask.nii.gz").shape == (20, 18, 3)
    assert {path.name for path in out.glob("*.nii.gz")} == {"ct_mask.nii.gz", "other_mask.nii.gz", "ct_2_mask.nii.gz"}
    assert not any((out / name).exists() for name in earlier)


def test_an_input_is_never_replaced(weights: Path, tmp_path: Path) -> None:
    for name in ("ct.nii.gz", "ct_mask.nii.gz"):
        save(tmp_path / name, hu_volume((20, 18, 3)))
    with pytest.raises(ValueError, match=r"ct_mask\.nii\.gz is an input, and would be replaced"):
        predict_files([tmp_path], tmp_path, predictor(weights), overwrite=True)
    assert nib.load(tmp_path / "ct_mask.nii.gz").get_data_dtype() == "int16"


@pytest.mark.parametrize("error", [IndexError("out of bounds"), KeyboardInterrupt()], ids=["a case's", "interrupt"])
def test_whatever_one_file_leads_to_the_record_tells_what_was_done(
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
        assert predict_files(inputs, tmp_path / "out", network) == [inputs[1]]
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

    monkeypatch.setattr(prediction_files, "show_prediction", fail)
    image = save(tmp_path / "ct.nii.gz", hu_volume((20, 18, 3)))
    assert predict_files([image], tmp_path / "out", predictor(weights)) == []
    assert "no picture of ct: out of bounds" in caplog.text
    assert (tmp_path / "out" / "ct_mask.nii.gz").is_file() and not list((tmp_path / "out").glob("pictures/*"))


@pytest.mark.parametrize("name", ["ct.img", "ct.hdr"])
def test_a_pair_of_files_is_to_be_converted(name: str, weights: Path, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(hu_volume((20, 18, 3)), np.eye(4)), tmp_path / "ct.img")
    assert predict_files([tmp_path / name], tmp_path / "out", predictor(weights)) == [str(tmp_path / name)]
    assert "pairs are not read. Convert the pair to .nii.gz." in (tmp_path / "out" / "failed.csv").read_text()


def test_findings_are_kept_where_there_are_any(weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"{broken}: cannot be read")  # and does not name the file twice
