"""The GlaS challenge's files become verified images, annotations and data lists."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2net_bundle.data import load_cases
from i2net_bundle.prepare.glas import VALIDATION_PATIENTS, Grade, patient_folds, prepare_glas, read_grades
from tests.prepare.glas_lookalikes import IDS, LISTED, names, picture, prepare, read, write_grades, write_source


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


def test_the_manifest_lists_every_image_with_its_patient_and_outputs(tmp_path: Path) -> None:
    out = prepare(write_source(tmp_path / "source"), tmp_path / "out")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["options"] == {"num_folds": 2, "allow_missing": False}
    assert manifest["cases"].keys() == LISTED.keys()
    case = manifest["cases"]["train_10"]
    assert (case["patient"], case["grade"], case["shape"], case["num_glands"]) == (3, "benign", [2, 4], 3)
    assert case["outputs"]["label"]["path"] == "labels/train_10.png"


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_an_archive_may_have_the_files_in_a_subfolder_and_what_macos_adds(kind: str, tmp_path: Path) -> None:
    inner = write_source(tmp_path / "packed" / "Warwick QU Dataset (Released 2016_07_08)")
    for shadow in (inner, tmp_path / "packed" / "__MACOSX" / inner.name):
        shadow.mkdir(parents=True, exist_ok=True)
        (shadow / "._train_1.bmp").write_bytes(b"\0")
    (tmp_path / "packed" / "__MACOSX" / inner.name / "Grade.csv").write_bytes(b"\0")
    archive = shutil.make_archive(str(tmp_path / "warwick"), kind, tmp_path / "packed")
    out = prepare(Path(archive), tmp_path / "out")
    assert len(list((out / "images").iterdir())) == len(LISTED)
    assert not list(tmp_path.glob("out/.*"))


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


def test_a_single_gland_is_not_taken_for_a_binary_mask(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    Image.fromarray((IDS > 0).astype(np.uint8)).save(source / "train_1_anno.bmp")
    label = read(prepare(source, tmp_path / "out") / "labels" / "train_1.png")
    np.testing.assert_array_equal(label, IDS > 0)


@pytest.mark.parametrize("line_end", ["\r", "\r\n", "\n"], ids=["CR", "CRLF", "LF"])
def test_the_table_is_read_with_any_line_ends(line_end: str, tmp_path: Path) -> None:
    assert read_grades(write_grades(tmp_path, LISTED, line_end)) == LISTED


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
