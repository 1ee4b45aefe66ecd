"""Predictions that are stopped, killed or run out of disk: no mask without its record, and they can be continued."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2net_bundle.io.writing import DiskFullError
from i2net_bundle.prediction import case_files, cohort
from i2net_bundle.prediction.case_prediction import Prediction
from i2net_bundle.prediction.cohort import predict_files
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.workflow.folder_lock import FolderInUseError
from i2net_bundle.workflow.stopping import Stopped
from tests.checks.ct_files import hu_volume, save

CASES = ("a", "b", "c")


def predictor(weights: Path, size: int = 32, **options: Any) -> Predictor:
    return Predictor(weights, overrides={"image_size": [size, size]}, **options)


def before_case(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], None]) -> list[str]:
    """Act at the start of a case; returns the names of the cases that are started."""
    predict, started = Predictor.predict, []

    def acting(self: Predictor, image: Any, case: str) -> Prediction:
        started.append(case)
        if case == name:
            act()
        return predict(self, image, case)

    monkeypatch.setattr(Predictor, "predict", acting)
    return started


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the computing times."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name in ("prediction.json", "cases.jsonl"):
        found[name] = b"\n".join(line for line in found[name].splitlines() if b"seconds" not in line)
    record = json.loads((folder / "prediction.json").read_text())
    found["prediction.json"] = json.dumps({**record, "seconds": sorted(record["seconds"])}).encode()
    return found


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"])
def test_a_signal_lets_the_case_finish_and_the_rest_can_be_continued(
    number: int, code: int, weights: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        before_case(patch, "b", lambda: os.kill(os.getpid(), number))
        with pytest.raises(Stopped, match=r"2 of 3 images are done\. Run the same command with --continue") as stopped:
            predict_files([scans], out, predictor(weights), pictures=False)
    assert stopped.value.code == code
    record = json.loads((out / "prediction.json").read_text())
    assert record["complete"] is False and list(record["status"]) == ["a", "b"]
    assert {path.name for path in out.glob("*_mask.*")} == {"a_mask.nii.gz", "b_mask.nii.gz"}
    assert set(json.loads((out / "statistics.json").read_text())) == {"a", "b"}
    started = before_case(monkeypatch, "none", lambda: None)
    assert predict_files([scans], out, predictor(weights), pictures=False, resume=True).failed == []
    assert started == ["c"]
    predict_files([scans], tmp_path / "whole", predictor(weights), pictures=False)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_killed_prediction_is_continued_without_what_its_last_case_left(
    weights: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    class KilledError(BaseException):
        pass

    def kill() -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(cohort.CohortRecord, "write_tables", lambda *_, **__: None)  # a killed process writes none
        before_case(patch, "c", kill)
        with pytest.raises(KilledError):
            predict_files([scans], out, predictor(weights), pictures=False)
    (out / "c_mask.nii.gz").write_bytes(b"whole mask, but no line in cases.jsonl")
    with (out / "cases.jsonl").open("a") as file:
        file.write('{"case": "c", "image"')
    predict_files([scans], out, predictor(weights), pictures=False, resume=True)
    predict_files([scans], tmp_path / "whole", predictor(weights), pictures=False)
    assert contents(out) == contents(tmp_path / "whole")


def test_failed_changed_and_incomplete_cases_are_repeated(
    weights: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    broken = scans / "broken.nii.gz"
    broken.write_bytes(b"<html>")
    assert predict_files([scans], out, predictor(weights), pictures=False).failed == [str(broken)]
    assert json.loads((out / "prediction.json").read_text())["status"]["broken"] == "failed"
    save(broken, hu_volume((20, 18, 3)))
    save(scans / "a.nii.gz", hu_volume((22, 18, 3)))
    (out / "b_mask.nii.gz").unlink()
    started = before_case(monkeypatch, "none", lambda: None)
    assert predict_files([scans], out, predictor(weights), pictures=False, resume=True).failed == []
    assert started == ["a", "b", "broken"] and not (out / "failed.csv").exists()


def test_continuing_with_other_settings_is_refused_and_names_them(weights: Path, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_files([scans], out, predictor(weights), pictures=False)
    before = contents(out)
    with pytest.raises(ValueError, match=r"configuration_sha256 .*\. Continue with the same weights and options"):
        predict_files([scans], out, predictor(weights, 48), pictures=False, resume=True)
    with pytest.raises(ValueError, match=r'maps \["class"\], here \["class", "entropy"\]'):
        predict_files([scans], out, predictor(weights, uncertainty=True), pictures=False, resume=True)
    with pytest.raises(ValueError, match=r"records predictions with pictures false, here true"):
        predict_files([scans], out, predictor(weights), resume=True)
    assert contents(out) == before


def test_a_folder_without_a_record_is_not_continued(weights: Path, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a_mask.nii.gz").write_bytes(b"somebody's mask")
    with pytest.raises(FileExistsError, match=r"contains files but no prediction\.json"):
        predict_files([scans], tmp_path / "out", predictor(weights), resume=True)
    assert (tmp_path / "out" / "a_mask.nii.gz").read_bytes() == b"somebody's mask"


def test_predictions_are_not_overwritten_by_default(weights: Path, scans: Path, tmp_path: Path) -> None:
    predict_files([scans], tmp_path / "out", predictor(weights), pictures=False)
    with pytest.raises(FileExistsError, match=r"already contains predictions\. Add --continue .*--overwrite"):
        predict_files([scans], tmp_path / "out", predictor(weights), pictures=False)


def test_a_folder_has_one_writer(weights: Path, scans: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".i2net.lock"), pytest.raises(FolderInUseError, match="is in use by"):
        predict_files([scans], out, predictor(weights), pictures=False)
    assert not list(out.glob("*_mask.*"))
    predict_files([scans], out, predictor(weights), pictures=False)
    assert not (out / ".i2net.lock").exists()


def test_a_disk_that_fills_stops_the_cohort_and_leaves_whole_cases_only(
    weights: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write_map = tmp_path / "out", case_files._write_map
    network = predictor(weights, uncertainty=True)

    def fill(path: Path, *arguments: Any) -> Path:
        if path.name.startswith("b_"):
            raise DiskFullError(f"{path} was not written: the disk is full.")
        return write_map(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(case_files, "_write_map", fill)
        with pytest.raises(DiskFullError, match="b_entropy was not written: the disk is full"):
            predict_files([scans], out, network, pictures=False)
    assert {path.name for path in out.glob("*.nii.gz")} == {"a_mask.nii.gz", "a_entropy.nii.gz"}
    record = json.loads((out / "prediction.json").read_text())
    assert record["status"].keys() == {"a"} and record["complete"] is False
    assert predict_files([scans], out, network, pictures=False, resume=True).failed == []
    assert json.loads((out / "prediction.json").read_text())["complete"] is True


def test_a_full_disk_is_noticed_before_a_case_is_computed(
    weights: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, size: int) -> None:
        raise DiskFullError(f"{path} was not written: it needs 1 MB, and 0 MB are free.")

    monkeypatch.setattr(cohort, "require_space", full)
    started = before_case(monkeypatch, "none", lambda: None)
    with pytest.raises(DiskFullError, match=r"prediction\.json was not written"):
        predict_files([scans], tmp_path / "out", predictor(weights))
    assert started == []


def test_several_processes_are_refused(
    weights: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="Prediction runs in one process, and WORLD_SIZE is 2"):
        predict_files([scans], tmp_path / "out", predictor(weights))
    assert not (tmp_path / "out").exists()


def test_implausible_masks_are_warnings_in_every_record(
    weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state, out = torch.load(weights, weights_only=True), tmp_path / "out"
    state["head.conv.bias"][5] = 1e4  # all is liver
    torch.save(state, tmp_path / "model.pt")
    image = save(tmp_path / "a.nii.gz", hu_volume((20, 18, 3)), np.diag([-20.0, -20.0, 30.0, 1.0]))  # of 13 L
    predict_files([image], out, predictor(tmp_path / "model.pt"))
    said = "implausible prediction: liver of 12960 mL; the usual range is 500 to 4500 mL"
    assert said in caplog.text and "Implausible masks: 1 of 1 (a). Look at their pictures" in caplog.text
    assert json.loads((out / "prediction.json").read_text())["status"] == {"a": "warning"}
    assert json.loads((out / "statistics.json").read_text())["a"]["warnings"] == [said]
    with (out / "data_findings.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["rule"], row["file"], row["problem"]) == ("mask-organ-volume", image, said)
    with (out / "statistics.csv").open(newline="") as file:
        assert [(row["class"], row["status"]) for row in csv.DictReader(file)] == [("liver", "warning")]
