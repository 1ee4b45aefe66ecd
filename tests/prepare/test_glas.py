"""The GlaS challenge's files become verified images, annotations and data lists, or an error that names the file."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2net_bundle.data import load_cases
from i2net_bundle.io.findings import DataError
from i2net_bundle.prepare.glas import VALIDATION_PATIENTS, Grade, patient_folds, prepare_glas, read_grades

HEADER = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"
LISTED = {
    "testA_1": Grade(4, "benign"),
    "testB_1": Grade(2, "malignant"),
    "train_1": Grade(2, "malignant"),
    "train_10": Grade(3, "benign"),
    "train_2": Grade(3, "benign"),
    "train_3": Grade(5, "malignant"),
}
IDS = np.array([[0, 1, 1, 0], [0, 2, 0, 7]], np.uint8)


def picture(name: str) -> np.ndarray:
    """2 × 4 pixels of noise, another for every name."""
    return np.random.default_rng(list(name.encode())).integers(0, 256, (2, 4, 3), dtype=np.uint8)


def write_grades(folder: Path, grades: Mapping[str, Grade], line_end: str = "\r") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [HEADER, *(f"{name},{case.patient}, {case.grade}, healthy" for name, case in grades.items())]
    (folder / "Grade.csv").write_bytes(line_end.join(rows).encode())
    return folder / "Grade.csv"


def write_source(folder: Path, grades: Mapping[str, Grade] = LISTED, suffix: str = ".bmp") -> Path:
    """The challenge's folder with ``picture`` and ``IDS`` for every name."""
    write_grades(folder, grades)
    for name in grades:
        Image.fromarray(picture(name)).save(folder / f"{name}{suffix}")
        Image.fromarray(IDS).save(folder / f"{name}_anno{suffix}")
    return folder


def prepare(source: Path, out_dir: Path, num_folds: int = 2, **options: Any) -> Path:
    """Prepare with the two folds that three training patients allow; give the folder."""
    return prepare_glas(source, out_dir, num_folds=num_folds, **options).parent


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def names(folder: Path, file: str) -> dict[str, list[str]]:
    """Split to image names of one data list."""
    content = json.loads((folder / file).read_text())
    return {
        key: [Path(case["image"]).stem for case in value] for key, value in content.items() if isinstance(value, list)
    }


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".BMP"])
def test_pixels_and_instance_ids_are_kept_exactly(suffix: str, tmp_path: Path) -> None:
    out = prepare(write_source(tmp_path / "source", suffix=suffix), tmp_path / "out")
    for name in LISTED:
        np.testing.assert_array_equal(read(out / "images" / f"{name}.png"), picture(name))
        label = read(out / "labels" / f"{name}.png")
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(label, IDS)


def test_the_official_split_names_part_patient_and_grade(tmp_path: Path) -> None:
    content = json.loads((prepare(write_source(tmp_path / "source"), tmp_path / "out") / "dataset.json").read_text())
    assert content["name"] == "GlaS"
    assert content["labels"] == {"0": "background", "1": "gland"}
    assert content["um_per_px"] == 0.62005
    (entry,) = content["testA"]
    assert {key: entry[key] for key in ("image", "label")} == {
        "image": "./images/testA_1.png",
        "label": "./labels/testA_1.png",
    }
    assert {key: entry[key] for key in ("part", "patient", "grade")} == {
        "part": "testA",
        "patient": 4,
        "grade": "benign",
    }
    assert {split: len(content[split]) for split in ("training", "testA", "testB", "test")} == {
        "training": 4,
        "testA": 1,
        "testB": 1,
        "test": 2,
    }


def test_the_patient_split_holds_out_whole_patients_and_keeps_the_official_test(tmp_path: Path) -> None:
    # of the training patients 2, 3 and 5 only 3 is among 3, 4, 7, 8 and 13; testA_1 is a test image whoever it is of
    out = prepare(write_source(tmp_path / "source"), tmp_path / "out")
    assert names(out, "patient_split.json") == {
        "training": ["train_1", "train_3"],
        "validation": ["train_10", "train_2"],
        "testA": ["testA_1"],
        "testB": ["testB_1"],
        "test": ["testA_1", "testB_1"],
    }


def test_a_prepared_folder_can_be_moved(tmp_path: Path) -> None:
    out = prepare(write_source(tmp_path / "source"), tmp_path / "out")
    moved = shutil.move(out, tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "source")
    assert load_cases(moved, "testB")[0]["image"] == str(tmp_path / "elsewhere" / "images" / "testB_1.png")


def test_folds_keep_patients_whole_and_grades_balanced(tmp_path: Path) -> None:
    # two benign patients (1, 2) and two malignant ones (3, 4) of two images each: each fold gets one of either grade
    grades = {f"train_{n}": Grade(1 + n // 2, "benign" if n < 4 else "malignant") for n in range(8)}
    folds = patient_folds(grades, 2)
    assert sorted(name for fold in folds for name in fold) == sorted(grades)
    for fold in folds:
        assert [grades[name].grade for name in fold] == ["benign", "benign", "malignant", "malignant"]
        assert len({grades[name].patient for name in fold}) == 2
    assert folds == patient_folds(grades, 2)


def test_every_fold_is_a_data_list_without_test_images(tmp_path: Path) -> None:
    out = prepare(write_source(tmp_path / "source"), tmp_path / "out")
    folds = [names(out, f"fold_{fold}.json") for fold in range(2)]
    assert not (out / "fold_2.json").exists()
    training = ["train_1", "train_10", "train_2", "train_3"]
    assert sorted(folds[0]["validation"] + folds[1]["validation"]) == training
    for fold in folds:
        assert fold.keys() == {"training", "validation"}
        assert sorted(fold["training"] + fold["validation"]) == training


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


def test_the_manifest_says_what_became_of_every_image(tmp_path: Path) -> None:
    out = prepare(write_source(tmp_path / "source"), tmp_path / "out")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["options"] == {"num_folds": 2, "allow_missing": False}
    assert manifest["cases"].keys() == LISTED.keys()
    case = manifest["cases"]["train_10"]
    assert (case["patient"], case["grade"], case["shape"], case["num_glands"]) == (3, "benign", [2, 4], 3)
    assert case["outputs"]["label"]["path"] == "labels/train_10.png"


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_an_archive_may_hold_the_files_a_folder_deeper_and_what_macos_adds(kind: str, tmp_path: Path) -> None:
    inner = write_source(tmp_path / "packed" / "Warwick QU Dataset (Released 2016_07_08)")
    for shadow in (inner, tmp_path / "packed" / "__MACOSX" / inner.name):
        shadow.mkdir(parents=True, exist_ok=True)
        (shadow / "._train_1.bmp").write_bytes(b"\0")
    (tmp_path / "packed" / "__MACOSX" / inner.name / "Grade.csv").write_bytes(b"\0")
    archive = shutil.make_archive(str(tmp_path / "warwick"), kind, tmp_path / "packed")
    out = prepare(Path(archive), tmp_path / "out")
    assert len(list((out / "images").iterdir())) == len(LISTED)
    assert not list(tmp_path.glob("out/.*"))


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
        FileNotFoundError, match=r"No training image .*beside Grade\.csv in .*Name the challenge's whole"
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


def test_an_image_that_is_there_in_two_formats_is_refused(tmp_path: Path) -> None:
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


def test_files_that_cannot_be_used_are_left_out_and_listed_when_told_to_go_on(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    (source / "train_1.bmp").write_bytes(b"")
    prepared = json.loads((prepare(source, tmp_path / "out", allow_missing=True) / "dataset.json").read_text())
    assert "./images/train_1.png" not in [case["image"] for case in prepared["training"]]
    assert "train_1.bmp,is empty" in (tmp_path / "out" / "failed.csv").read_text()


def test_an_opaque_alpha_channel_is_dropped(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", suffix=".png")
    Image.fromarray(picture("train_1")).convert("RGBA").save(source / "train_1.png")
    out = prepare(source, tmp_path / "out")
    np.testing.assert_array_equal(read(out / "images" / "train_1.png"), picture("train_1"))


def test_a_palette_image_becomes_rgb_and_a_palette_annotation_keeps_its_indices(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", suffix=".png")
    for path, colours in ((source / "train_1.png", [9, 8, 7, 200, 0, 0]), (source / "train_1_anno.png", 24 * [77])):
        indexed = Image.fromarray(IDS % 2 if "anno" not in path.name else IDS).convert("L")
        indexed.putpalette(colours)
        indexed.save(path)
    out = prepare(source, tmp_path / "out")
    np.testing.assert_array_equal(read(out / "images" / "train_1.png")[0, :2], [[9, 8, 7], [200, 0, 0]])
    np.testing.assert_array_equal(read(out / "labels" / "train_1.png"), IDS)


def test_ids_above_255_are_written_with_16_bits(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", suffix=".png")
    ids = IDS.astype(np.uint16) * 100
    Image.fromarray(ids).save(source / "train_1_anno.png")
    label = read(prepare(source, tmp_path / "out") / "labels" / "train_1.png")
    assert label.dtype == np.uint16
    np.testing.assert_array_equal(label, ids)


def test_small_ids_in_a_16_bit_file_are_written_with_8_bits(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", suffix=".png")
    Image.fromarray(IDS.astype(np.uint16)).save(source / "train_1_anno.png")
    label = read(prepare(source, tmp_path / "out") / "labels" / "train_1.png")
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, IDS)


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
            "train_1_anno.png", picture("train_1"), r"holds colours .*\. Use the file as distributed", id="RGB mask"
        ),
        pytest.param(
            "train_1_anno.png",
            255 * (IDS > 0).astype(np.uint8),
            r"holds 0, 255 only and looks binary.*\. Use the file as distributed",
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


def test_a_single_gland_is_no_binary_mask(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    Image.fromarray((IDS > 0).astype(np.uint8)).save(source / "train_1_anno.bmp")
    label = read(prepare(source, tmp_path / "out") / "labels" / "train_1.png")
    np.testing.assert_array_equal(label, IDS > 0)


def test_sixteen_bit_colours_are_refused(tmp_path: Path) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    # Pillow does not write such files: 4 × 2 pixels of 3 × 16 bits, and a 0 before each row
    header = struct.pack(">IIBBBBB", 4, 2, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(2 * (1 + 4 * 6)))) + chunk(b"IEND", b"")
    source = write_source(tmp_path / "source", suffix=".png")
    (source / "train_1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(DataError, match=r"train_1\.png: has 16 bits per channel.*it would be nearly black"):
        prepare(source, tmp_path / "out")


@pytest.mark.parametrize("line_end", ["\r", "\r\n", "\n"], ids=["CR", "CRLF", "LF"])
def test_the_table_is_read_with_any_line_ends(line_end: str, tmp_path: Path) -> None:
    assert read_grades(write_grades(tmp_path, LISTED, line_end)) == LISTED


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
    with pytest.raises(ValueError, match=r"several Grade\.csv \(a/Grade\.csv, b/Grade\.csv\)\. Name the folder of one"):
        prepare(tmp_path / "source", tmp_path / "out")


def test_a_folder_that_holds_something_is_not_written_over(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    prepare(source, tmp_path / "out")
    with pytest.raises(FileExistsError, match=r"out exists and is not empty\. Choose another --out"):
        prepare(source, tmp_path / "out")


@pytest.mark.slow
def test_the_real_training_images_are_kept_and_split_by_patient(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "glas"
    out = prepare_glas(source, tmp_path / "out", allow_missing=True).parent
    grades = read_grades(source / "Grade.csv")
    training = names(out, "dataset.json")["training"]
    assert len(training) == 85
    for name in training:
        np.testing.assert_array_equal(read(out / "images" / f"{name}.png"), read(source / f"{name}.png"))
        np.testing.assert_array_equal(read(out / "labels" / f"{name}.png"), read(source / f"{name}_anno.png"))

    def patients(images: list[str]) -> set[int]:
        return {grades[name].patient for name in images}

    split = names(out, "patient_split.json")
    assert (len(split["training"]), len(split["validation"])) == (67, 18)
    assert patients(split["validation"]) == set(VALIDATION_PATIENTS)
    assert sum(grades[name].grade == "benign" for name in split["validation"]) == 9
    folds = [names(out, f"fold_{fold}.json") for fold in range(5)]
    for lists in (split, *folds):
        assert sorted(lists["training"] + lists["validation"]) == sorted(training)
        assert not patients(lists["training"]) & patients(lists["validation"])
    assert sorted(name for fold in folds for name in fold["validation"]) == sorted(training)
