"""Cross-validation folds: every case validates once, patients stay together, and the files can be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from i2net_bundle.data.datalist import read_datalist
from i2net_bundle.data.folds import fold_lists, make_folds, write_folds


@pytest.fixture
def make_list(tmp_path: Path):
    def make(patients: list[int] | None, order: int = 1) -> Path:
        (tmp_path / "images").mkdir(exist_ok=True)
        cases = []
        for number in range(11):
            path = tmp_path / "images" / f"train_{number}.png"
            path.write_bytes(bytes([number]))
            case = {"image": f"images/{path.name}", "label": f"images/{path.name}"}
            cases.append(case | ({} if patients is None else {"patient": patients[number]}))
        content = {"name": "eleven", "labels": {"0": "background", "1": "gland"}, "um_per_px": 0.5, "numTest": 1}
        cases = cases[::order]
        content |= {"training": cases[:7], "validation": cases[7:10], "test": cases[10:]}
        (tmp_path / "dataset.json").write_text(json.dumps(content))
        return tmp_path

    return make


def names(part: list[dict]) -> list[str]:
    return sorted(Path(case["image"]).stem for case in part)


def test_every_case_of_the_pooled_lists_is_in_one_part_of_similar_size(make_list) -> None:
    parts = make_folds(read_datalist(make_list(None) / "dataset.json"), 3)
    assert sorted(name for part in parts for name in names(part)) == sorted(f"train_{n}" for n in range(10))
    assert sorted(map(len, parts)) == [3, 3, 4]


def test_the_parts_depend_on_the_seed_and_not_on_the_order_of_the_file(make_list) -> None:
    pooled = ("training", "validation", "test")
    first = make_folds(read_datalist(make_list(None) / "dataset.json"), 3, pooled=pooled)
    backwards = make_folds(read_datalist(make_list(None, -1) / "dataset.json"), 3, pooled=pooled)
    assert list(map(names, first)) == list(map(names, backwards))
    other = make_folds(read_datalist(make_list(None) / "dataset.json"), 3, seed=1, pooled=pooled)
    assert list(map(names, first)) != list(map(names, other))


def test_the_images_of_a_patient_stay_together(make_list) -> None:
    patients = [1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5]
    parts = make_folds(read_datalist(make_list(patients) / "dataset.json"), 2, by="patient")
    owners = [{case["patient"] for case in part} for part in parts]
    assert owners[0].isdisjoint(owners[1]) and owners[0] | owners[1] == {1, 2, 3, 4}
    assert sorted(map(len, parts)) == [5, 5]  # 4 + 1, 3 + 2


def test_folds_are_data_lists_with_the_header_of_the_data_set(make_list, tmp_path: Path) -> None:
    folder = make_list(None)
    paths = fold_lists(folder, "dataset.json", tmp_path / "out", 2, "image", 0, ("training", "validation"))
    assert [path.name for path in paths] == ["fold_0.json", "fold_1.json"]
    found = read_datalist(paths[1])
    assert (found.name, found.class_names) == ("eleven", ("background", "gland"))
    assert json.loads(paths[1].read_text())["um_per_px"] == 0.5
    assert set(found.splits) == {"training", "validation"}  # the held-back test image is in neither
    assert len(found.cases("training")) == 5 and len(found.cases("validation")) == 5
    assert all(Path(case["image"]).is_absolute() for case in found.splits["training"])


def test_a_label_table_beside_the_data_list_is_found_from_the_folds(make_list, tmp_path: Path) -> None:
    folder = make_list(None)
    content = json.loads((folder / "dataset.json").read_text()) | {"label_table": "table.json"}
    (folder / "dataset.json").write_text(json.dumps(content))
    found = read_datalist(folder / "dataset.json")
    (tmp_path / "out").mkdir()
    path = write_folds(found, make_folds(found, 2), tmp_path / "out")[0]
    table = read_datalist(path).label_table
    assert table is not None and Path(table).resolve() == (folder / "table.json").resolve()


def test_folds_by_patient_need_the_patient_of_every_case(make_list) -> None:
    with pytest.raises(ValueError, match=r'does not name the patient of every case.*Add "patient"'):
        make_folds(read_datalist(make_list(None) / "dataset.json"), 2, by="patient")


def test_more_folds_than_patients_are_refused(make_list) -> None:
    with pytest.raises(ValueError, match=r"has 2 patients in training and validation, too few for 3 folds"):
        make_folds(read_datalist(make_list([1] * 5 + [2] * 6) / "dataset.json"), 3, by="patient")
