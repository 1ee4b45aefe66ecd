"""The GlaS challenge's folder becomes a data list that keeps patients apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from i2net_bundle.data.glas import VALIDATION_PATIENTS, read_patients, write_datalist

HEADER = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"


def write_folder(folder: Path, names: dict[str, int], line_end: str = "\r", suffix: str = ".bmp") -> Path:
    folder.mkdir(exist_ok=True)
    lines = [HEADER, *(f"{name},{patient}, benign, healthy" for name, patient in names.items())]
    (folder / "Grade.csv").write_bytes(line_end.join(lines).encode())
    for name in names:
        (folder / f"{name}{suffix}").touch()
        (folder / f"{name}_anno{suffix}").touch()
    return folder


@pytest.mark.parametrize("line_end", ["\r", "\r\n", "\n"], ids=["CR", "CRLF", "LF"])
def test_patients_are_read_with_any_line_ends(line_end: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "glas", {"train_1": 2, "testA_3": 11}, line_end)
    assert read_patients(folder / "Grade.csv") == {"train_1": 2, "testA_3": 11}


@pytest.mark.parametrize("suffix", [".bmp", ".png"])
def test_training_images_of_validation_patients_validate(suffix: str, tmp_path: Path) -> None:
    names = {"train_1": 2, "train_2": 3, "train_3": 13, "testA_1": 3}
    folder = write_folder(tmp_path / "glas", names, suffix=suffix)
    contents = json.loads(write_datalist(folder, tmp_path / "out").read_text())
    stems = {
        split: [Path(case["image"]).stem for case in contents[split]] for split in ("training", "validation", "test")
    }
    assert stems == {"training": ["train_1"], "validation": ["train_2", "train_3"], "test": ["testA_1"]}


def test_an_existing_list_is_kept(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "glas", {"train_1": 2})
    write_datalist(folder, tmp_path)
    with pytest.raises(FileExistsError, match=r"dataset\.json exists"):
        write_datalist(folder, tmp_path)


def test_a_missing_annotation_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "glas", {"train_1": 2})
    (folder / "train_1_anno.bmp").unlink()
    with pytest.raises(FileNotFoundError, match=r"train_1_anno\.bmp is missing"):
        write_datalist(folder, tmp_path)


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Grade.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="columns 'name' and 'patient ID' expected"):
        read_patients(tmp_path / "Grade.csv")


def test_the_real_training_images_split_into_67_and_18_with_no_patient_on_both_sides(
    shared: Path, tmp_path: Path
) -> None:
    folder = shared / "data" / "glas"
    contents = json.loads(write_datalist(folder, tmp_path).read_text())
    patients = read_patients(folder / "Grade.csv")
    found = {
        split: {patients[Path(case["image"]).stem] for case in contents[split]} for split in ("training", "validation")
    }
    assert (len(contents["training"]), len(contents["validation"])) == (67, 18)
    assert found["validation"] == set(VALIDATION_PATIENTS)
    assert not found["training"] & found["validation"]
