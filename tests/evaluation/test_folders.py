"""Folders of masks are scored against folders of labels: pairs, and masks that cannot be scored."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2net_bundle.cli import main
from i2net_bundle.evaluation.folders import evaluate_folders
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.options import HistologyOptions
from tests.evaluation.mask_files import LABEL, PRED, save


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    preds, labels = tmp_path / "preds", tmp_path / "labels"
    for number in (1, 2):
        save(preds / f"img000{number}_mask.nii.gz", PRED)
        save(labels / f"label000{number}.nii.gz", LABEL)
    return preds, labels


def test_btcv_masks_and_labels_are_paired(folders: tuple[Path, Path], tmp_path: Path) -> None:
    summary = evaluate_folders(*folders, tmp_path / "out")
    assert summary["cases"] == 2
    assert summary["classes"]["liver"]["strict_dice"]["mean"] == pytest.approx(2 / 3)
    assert summary["classes"]["spleen"]["absent"] == 2
    assert summary["weights"] is None


def test_processes_give_the_same_scores(folders: tuple[Path, Path], tmp_path: Path) -> None:
    alone, together = (evaluate_folders(*folders, tmp_path / str(n), num_workers=n) for n in (0, 1))
    assert alone == together


def test_another_orientation_of_the_same_grid_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    save(folders[0] / "img0002_mask.nii.gz", PRED, np.diag([-2.0, 2.0, 3.0, 1.0]))
    summary = evaluate_folders(*folders, tmp_path / "out")
    assert summary["cases"] == 1
    with (tmp_path / "out" / "failed.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert "img0002_mask" in row["file"] and "mm away from its label" in row["reason"]


@pytest.mark.parametrize(
    ("pred", "message"),
    [(PRED[:6], r"has shape \(6, 10, 8\), but its label"), (PRED + 9, "the classes are 0 to 8")],
    ids=["shape", "labels"],
)
def test_nothing_to_score_is_an_error(
    folders: tuple[Path, Path], tmp_path: Path, pred: np.ndarray, message: str
) -> None:
    for number in (1, 2):
        save(folders[0] / f"img000{number}_mask.nii.gz", pred)
    with pytest.raises(DataError, match=message):
        evaluate_folders(*folders, tmp_path / "out")


def test_files_without_a_partner_are_an_error_by_default(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[0] / "img0001_mask.nii.gz").unlink()
    save(folders[0] / "img0009_mask.nii.gz", PRED)
    with pytest.raises(DataError, match=r"no prediction for 1 case: 0001[\s\S]*no label for 1 prediction: img0009"):
        evaluate_folders(*folders, tmp_path / "out")
    assert evaluate_folders(*folders, tmp_path / "out", allow_missing=True)["cases"] == 1


def test_two_masks_of_one_case_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    save(folders[0] / "img0001.nii.gz", PRED)
    with pytest.raises(DataError, match="belongs to the same case as img0001"):
        evaluate_folders(*folders, tmp_path / "out")


def test_glands_are_scored_as_objects(tmp_path: Path) -> None:
    ids = np.zeros((60, 80), np.uint8)
    ids[5:25, 5:25], ids[30:50, 40:70] = 1, 2
    save(tmp_path / "labels" / "testA_1_anno.bmp", ids)
    save(tmp_path / "labels" / "testA_1.bmp", np.zeros((60, 80, 3), np.uint8))  # the image beside its annotation
    save(tmp_path / "preds" / "testA_1_mask.png", np.where(ids == 1, 255, 0).astype(np.uint8))
    with pytest.raises(DataError, match="nothing else is declared"):
        evaluate_folders(tmp_path / "preds", tmp_path / "labels", tmp_path / "out")
    instances = HistologyOptions(label_values="instances")
    summary = evaluate_folders(tmp_path / "preds", tmp_path / "labels", tmp_path / "out", histology=instances)
    assert summary["mean"]["object_f1"]["mean"] == pytest.approx(2 / 3)  # one found, one missed
    assert summary["mean"]["objects_pooled"]["false_negatives"] == 1
    assert summary["mean"]["strict_dice"]["mean"] == pytest.approx(2 * 400 / (400 + 1000))


@pytest.fixture
def touching(tmp_path: Path) -> tuple[Path, Path]:
    """A mask of two glands that touch, with its instances beside it, and the labels."""
    ids = np.zeros((60, 60), np.uint16)
    ids[10:50, 5:30], ids[10:50, 30:55] = 1, 2
    preds, labels = tmp_path / "preds", tmp_path / "labels"
    for folder, name, pixels in (
        (labels, "testA_1_anno", ids.astype(np.uint8)),
        (preds, "testA_1_mask", np.where(ids, 255, 0).astype(np.uint8)),
        (preds, "testA_1_instances", ids),
    ):
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return preds, labels


def test_instances_beside_a_mask_are_its_objects(touching: tuple[Path, Path], tmp_path: Path) -> None:
    options = HistologyOptions(label_values="instances")
    divided = evaluate_folders(*touching, tmp_path / "a", histology=options)
    assert divided["cases"] == 1 and divided["mean"]["object_f1"]["mean"] == 1
    (touching[0] / "testA_1_instances.png").unlink()
    connected = evaluate_folders(*touching, tmp_path / "b", histology=options)
    assert connected["mean"]["object_f1"]["mean"] == pytest.approx(2 / 3)  # one object for both
    assert connected["mean"]["strict_dice"] == divided["mean"]["strict_dice"]


def test_instances_of_another_size_are_refused(touching: tuple[Path, Path], tmp_path: Path) -> None:
    Image.fromarray(np.ones((60, 50), np.uint16)).save(touching[0] / "testA_1_instances.png")
    with pytest.raises(DataError, match=r"instances\.png: is 50 × 60 pixels, its image"):
        evaluate_folders(*touching, tmp_path / "out", histology=HistologyOptions(label_values="instances"))


def test_labels_may_be_called_instances(touching: tuple[Path, Path], tmp_path: Path) -> None:
    preds, labels = touching
    (labels / "testA_1_anno.png").rename(labels / "testA_1_instances.png")
    (preds / "testA_1_mask.png").rename(preds / "testA_1_instances.png")  # no mask: it is the prediction itself
    summary = evaluate_folders(preds, labels, tmp_path / "out", histology=HistologyOptions(label_values="instances"))
    assert summary["cases"] == 1


def test_ids_of_several_classes_and_an_ignored_one(tmp_path: Path) -> None:
    label = np.zeros((4, 6), np.uint8)
    label[:, 2:4], label[:, 4:] = 1, 255
    pred = np.full((4, 6), 18, np.uint8)
    pred[:, :3] = 1
    save(tmp_path / "labels" / "street_label.png", label)
    save(tmp_path / "preds" / "street_pred.png", pred)
    histology = HistologyOptions(label_values="classes")
    summary = evaluate_folders(
        tmp_path / "preds", tmp_path / "labels", tmp_path / "out", label_table="cityscapes", histology=histology
    )
    # class 1: 4 of 16 voxels of either; class 0: none of 8; class 18: none of 4; the last columns count nowhere
    assert summary["iou"]["classes"]["sidewalk"] == pytest.approx(4 / 16)
    assert summary["iou"]["mean"] == pytest.approx((0 + 4 / 16 + 0) / 3)


def write_datalist(folder: Path, *names: str, **header: object) -> None:
    listed = [{"image": f"{name}.nii.gz", "label": f"{name}.nii.gz"} for name in names]
    (folder / "dataset.json").write_text(json.dumps({**header, "test": listed}))


def test_classes_are_those_of_the_data_list(tmp_path: Path) -> None:
    save(tmp_path / "labels" / "a.nii.gz", LABEL // 5)
    save(tmp_path / "preds" / "a_mask.nii.gz", PRED // 5)
    write_datalist(tmp_path / "labels", "a", labels={"background": 0, "tumour": 1})
    summary = evaluate_folders(tmp_path / "preds", tmp_path / "labels", tmp_path / "out", label_table="synapse")
    assert list(summary["classes"]) == ["tumour"]
    assert summary["classes"]["tumour"]["strict_dice"]["mean"] == pytest.approx(2 / 3)


def test_ignored_voxels_do_not_count(tmp_path: Path) -> None:
    label = LABEL // 5
    label[:, :, 4:6][label[:, :, 4:6] == 1] = 2  # what the prediction misses
    save(tmp_path / "labels" / "a.nii.gz", label)
    save(tmp_path / "preds" / "a_mask.nii.gz", PRED // 5)
    write_datalist(tmp_path / "labels", "a", labels={"background": 0, "tumour": 1, "ignore": 2})
    summary = evaluate_folders(tmp_path / "preds", tmp_path / "labels", tmp_path / "out")
    assert summary["classes"]["tumour"]["strict_dice"]["mean"] == pytest.approx(1)


def test_a_prediction_that_contains_the_ignored_id_cannot_be_scored(tmp_path: Path) -> None:
    save(tmp_path / "labels" / "a.nii.gz", LABEL // 5)
    save(tmp_path / "preds" / "a_mask.nii.gz", PRED // 5 * 2)
    write_datalist(tmp_path / "labels", "a", labels={"background": 0, "tumour": 1, "ignore": 2})
    with pytest.raises(DataError, match=r"a_mask\.nii\.gz: contains 2, which is no class"):
        evaluate_folders(tmp_path / "preds", tmp_path / "labels", tmp_path / "out")


def test_a_prediction_may_have_the_number_of_the_first_channel(tmp_path: Path) -> None:
    save(tmp_path / "set" / "imagesTr" / "a_0000.nii.gz", LABEL)
    save(tmp_path / "set" / "labelsTr" / "a.nii.gz", LABEL // 5)
    header = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "tumour": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(header))
    save(tmp_path / "preds" / "a_0000_mask.nii.gz", PRED // 5)
    summary = evaluate_folders(tmp_path / "preds", tmp_path / "set", tmp_path / "out", split="training")
    assert summary["cases"] == 1


class TestCommand:
    def test_scores_end_in_a_table_and_two_files(
        self, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        main(["evaluate", *map(str, folders)])
        out = folders[0].with_name("preds_scores")
        assert "mean of 2 cases" in capsys.readouterr().out
        assert json.loads((out / "summary.json").read_text())["cases"] == 2 and (out / "metrics.csv").is_file()

    def test_results_are_not_overwritten_by_default(self, folders: tuple[Path, Path]) -> None:
        main(["evaluate", *map(str, folders)])
        with pytest.raises(SystemExit, match="already contains results"):
            main(["evaluate", *map(str, folders)])
        main(["evaluate", *map(str, folders), "--overwrite"])

    def test_masks_that_cannot_be_scored_give_exit_status_1(self, folders: tuple[Path, Path]) -> None:
        save(folders[0] / "img0002_mask.nii.gz", PRED[:6])
        with pytest.raises(SystemExit) as caught:
            main(["evaluate", *map(str, folders)])
        assert caught.value.code == 1

    def test_a_missing_split_is_named(self, folders: tuple[Path, Path]) -> None:
        listed = [{"image": "label0001.nii.gz", "label": "label0001.nii.gz"}]
        (folders[1] / "dataset.json").write_text(json.dumps({"training": listed}))
        with pytest.raises(SystemExit, match="lists no 'test' cases; its lists: training"):
            main(["evaluate", *map(str, folders)])
