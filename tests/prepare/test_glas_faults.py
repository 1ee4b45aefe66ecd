"""Faulty or missing files of the GlaS challenge are named with the remedy, and nothing is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2net_bundle.io.findings import DataError
from i2net_bundle.prepare.glas import Grade, patient_folds, read_grades
from tests.checks.histology_files import write_png
from tests.prepare.glas_lookalikes import HEADER, IDS, LISTED, names, picture, prepare, write_grades, write_source


@pytest.mark.parametrize("num_folds", [0, 1, 4])
def test_folds_that_the_patients_do_not_give_are_refused(num_folds: int, tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    message = rf"4 training images of 3 patients, .* do not give {num_folds} folds\. Choose another number with --folds"
    with pytest.raises(ValueError, match=message):
        prepare(source, tmp_path / "out", num_folds)
    assert not (tmp_path / "out").exists()


def test_more_folds_than_images_of_either_grade_are_refused() -> None:
    grades = {f"train_{n}": Grade(n, "benign" if n < 2 else "malignant") for n in range(4)}
    with pytest.raises(ValueError, match=r"of 4 patients, 2 of the commoner grade, do not give 3 folds.*--folds"):
        patient_folds(grades, 3)


def test_faults_within_an_archive_are_named_by_the_archive(tmp_path: Path) -> None:
    (write_source(tmp_path / "packed" / "Warwick") / "train_2.bmp").write_bytes(b"")
    archive = shutil.make_archive(str(tmp_path / "warwick"), "zip", tmp_path / "packed")
    with pytest.raises(DataError) as caught:
        prepare(Path(archive), tmp_path / "out")
    assert caught.value.findings[0].file == f"{archive}/Warwick/train_2.bmp"


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_a_truncated_archive_is_to_be_downloaded_again(kind: str, tmp_path: Path) -> None:
    write_source(tmp_path / "packed")
    archive = Path(shutil.make_archive(str(tmp_path / "warwick"), kind, tmp_path / "packed"))
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(ValueError, match=rf"{archive.name}: is a damaged archive .*\. Download it again\."):
        prepare(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_images_are_counted_and_named(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    for name in ("testB_1", "train_2"):
        (source / f"{name}.bmp").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks 2 files: testB_1, train_2\. .*with --allow-missing"):
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_images_that_are_allowed_are_warned_of_and_their_split_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_source(tmp_path / "source")
    (source / "testB_1.bmp").unlink()
    out = prepare(source, tmp_path / "out", allow_missing=True)
    assert names(out, "dataset.json").keys() == {"training", "testA", "test"}
    assert [(record.name, record.levelname) for record in caplog.records] == [("i2net.prepare", "WARNING")]
    assert "lacks 1 files: testB_1. Going on without them." in caplog.text


def test_no_training_image_at_all_is_an_error_even_when_missing_ones_are_allowed(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    for path in source.glob("train_*"):
        path.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"No training image .*beside Grade\.csv in .*Pass the challenge's whole"
    ):
        prepare(source, tmp_path / "out", allow_missing=True)


def test_images_that_the_table_does_not_list_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_source(tmp_path / "source")
    write_grades(source, {name: grade for name, grade in LISTED.items() if name != "testA_1"})
    out = prepare(source, tmp_path / "out")
    assert "left out, not in Grade.csv: testA_1.bmp, testA_1_anno.bmp." in caplog.text
    assert not (out / "images" / "testA_1.png").exists()


def test_an_image_in_two_formats_is_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    shutil.copy(source / "train_1.bmp", source / "train_1.png")
    with pytest.raises(DataError, match=r"train_1\.png: train_1\.bmp is there too\. Keep one of the two\."):
        prepare(source, tmp_path / "out")


def test_all_faulty_files_are_reported_together_and_nothing_is_written(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    whole = (source / "train_1.bmp").read_bytes()
    (source / "train_1.bmp").write_bytes(whole[:-9])
    (source / "train_1_anno.bmp").write_bytes(b"")
    (source / "train_2.bmp").write_bytes(b"<!DOCTYPE html><title>Log in</title>")
    (source / "train_3_anno.bmp").unlink()
    with pytest.raises(DataError) as caught:
        prepare(source, tmp_path / "out")
    assert [Path(finding.file).name for finding in caught.value.findings] == [
        "train_1.bmp",
        "train_1_anno.bmp",
        "train_2.bmp",
        "train_3.bmp",
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", r"train_1\.bmp: is empty\. Download .*again", id="empty"),
        pytest.param(b"<html>", r"train_1\.bmp: is an HTML page.*\. Download it again", id="HTML"),
        pytest.param(b"BM" + 60 * b"\0", r"train_1\.bmp: is .*damaged.*\. Download .*again", id="damaged"),
    ],
)
def test_a_file_that_is_no_image_is_to_be_downloaded_again(content: bytes, message: str, tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    (source / "train_1.bmp").write_bytes(content)
    with pytest.raises(DataError, match=message):
        prepare(source, tmp_path / "out")


def test_a_truncated_image_is_to_be_downloaded_again(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", suffix=".png")
    whole = (source / "train_1.png").read_bytes()
    (source / "train_1.png").write_bytes(whole[: len(whole) // 2 + 10])
    with pytest.raises(DataError, match=r"train_1\.png: is truncated or damaged .*\. Download .*again"):
        prepare(source, tmp_path / "out")


def test_a_missing_annotation_is_named(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    (source / "train_1_anno.bmp").unlink()
    message = r"train_1\.bmp: its annotation train_1_anno\.bmp is missing\. Download the annotation"
    with pytest.raises(DataError, match=message):
        prepare(source, tmp_path / "out")


def test_files_that_cannot_be_used_are_left_out_and_listed_if_missing_ones_are_allowed(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    (source / "train_1.bmp").write_bytes(b"")
    prepared = json.loads((prepare(source, tmp_path / "out", allow_missing=True) / "dataset.json").read_text())
    assert "./images/train_1.png" not in [case["image"] for case in prepared["training"]]
    assert "train_1.bmp,is empty" in (tmp_path / "out" / "failed.csv").read_text()


@pytest.mark.parametrize(
    ("file", "pixels", "message"),
    [
        pytest.param("train_1.png", IDS, r"is not RGB \(mode L\)\. Use the file as distributed", id="grey image"),
        pytest.param(
            "train_1.png",
            np.dstack([picture("train_1"), IDS]),
            r"has transparent pixels .*\. Flatten it",
            id="transparent image",
        ),
        pytest.param(
            "train_1_anno.png", picture("train_1"), r"contains colours .*\. Use the file as distributed", id="RGB mask"
        ),
        pytest.param(
            "train_1_anno.png",
            255 * (IDS > 0).astype(np.uint8),
            r"contains 0, 255 only and looks binary.*\. Use the file as distributed",
            id="binary mask",
        ),
        pytest.param("train_1_anno.png", IDS[:, :3], r"is 3 × 2 pixels, its image .* is 4 × 2\. ", id="other size"),
    ],
)
def test_what_the_challenge_does_not_distribute_is_refused(
    file: str, pixels: np.ndarray, message: str, tmp_path: Path
) -> None:
    source = write_source(tmp_path / "source", suffix=".png")
    Image.fromarray(pixels).save(source / file)
    with pytest.raises(DataError, match=file.replace(".", r"\.") + ": " + message):
        prepare(source, tmp_path / "out")


def test_sixteen_bit_colours_are_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", suffix=".png")
    write_png(source / "train_1.png", 2 * [bytes(4 * 6)], width=4, bits=16, colour_type=2)
    with pytest.raises(DataError, match=r"train_1\.png: has 16 bits per channel.*it would be nearly black"):
        prepare(source, tmp_path / "out")


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "<html>"], ids=["empty", "other columns", "HTML"])
def test_another_table_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "Grade.csv").write_text(content)
    message = (
        r"Grade\.csv: columns 'name', 'patient ID', 'grade \(GlaS\)' expected\. Take the Grade\.csv that came with"
    )
    with pytest.raises(DataError, match=message):
        read_grades(tmp_path / "Grade.csv")


@pytest.mark.parametrize("row", ["train_1,x, benign", "train_1,2, unknown", "valid_1,2, benign", "train_1"])
def test_a_row_of_another_kind_is_quoted(row: str, tmp_path: Path) -> None:
    (tmp_path / "Grade.csv").write_text(f"{HEADER}\n{row}\n")
    with pytest.raises(DataError, match=rf"Grade\.csv: row '{row.replace(', ', ',')}' is not .*\. Take the Grade\.csv"):
        read_grades(tmp_path / "Grade.csv")


def test_a_folder_without_the_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(FileNotFoundError, match=r"No Grade\.csv in .*source\. Pass the challenge's folder or archive"):
        prepare(tmp_path / "source", tmp_path / "out")


def test_several_tables_are_listed(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_source(tmp_path / "source" / folder)
    with pytest.raises(ValueError, match=r"several Grade\.csv \(a/Grade\.csv, b/Grade\.csv\)\. Pass the folder of one"):
        prepare(tmp_path / "source", tmp_path / "out")


def test_a_folder_that_is_not_empty_is_not_overwritten(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    prepare(source, tmp_path / "out")
    with pytest.raises(FileExistsError, match=r"out exists and is not empty\. Choose another --out"):
        prepare(source, tmp_path / "out")
