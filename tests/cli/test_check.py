"""``i2net check`` and ``series``: what they print, and how they end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.checks.ct_files import SHAPE, hu_volume, save
from tests.cli.commands import status_of
from tests.io.dicom.files import DESCRIPTION, OTHER_UID, two_series


def with_warning(folder: Path) -> Path:
    """A CT whose spacing is in metres."""
    return Path(save(folder / "metres.nii.gz", hu_volume(), np.diag([-0.002, -0.002, 0.003, 1]), xyzt_units=1))


def with_error(folder: Path) -> Path:
    return Path(save(folder / "offset.nii.gz", hu_volume() + np.int16(1024)))


def test_a_check_without_findings_ends_well(glands: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["check", str(glands)]) == 0
    assert capsys.readouterr().out == (
        f"{glands}: 2 training, 1 validation, 1 test checked\n"
        "channels: R, G, B\nclasses: 0 background, 1 gland\n0 errors, 0 warnings\n"
    )


def test_warnings_alone_end_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["check", str(with_warning(tmp_path))]) == 0
    assert re.search(r"\nWARNING \[units\] .*metres\.nii\.gz: .*\n0 errors, 1 warning\n$", capsys.readouterr().out)


def test_an_error_in_any_of_several_paths_is_status_1_and_all_are_checked(
    glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = with_error(tmp_path)
    assert status_of(["check", str(broken), str(glands)]) == 1
    first, second = capsys.readouterr().out.split("\n\n")
    assert re.fullmatch(
        rf"{broken}: 1 file checked\nERROR   \[offset\] {broken}: looks like .*\n1 error, 0 warnings", first
    )
    assert second.startswith(f"{glands}: 2 training")


def test_json_is_all_that_stands_on_the_standard_output(
    glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(with_error(tmp_path)), str(with_warning(tmp_path)), str(glands)]
    assert status_of(["check", *paths, "--json"]) == 1
    reports = json.loads(capsys.readouterr().out)
    assert [report["target"] for report in reports] == paths
    assert [(report["errors"], report["warnings"]) for report in reports] == [(1, 0), (0, 1), (0, 0)]
    assert status_of(["check", str(glands), "--json"]) == 0


def test_a_broken_data_list_is_reported_and_the_other_paths_are_checked(
    glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dataset.json").write_text("{", encoding="utf-8")
    assert status_of(["check", str(tmp_path), str(glands), "--json"]) == 1
    broken, sound = json.loads(capsys.readouterr().out)
    assert [finding["rule"] for finding in broken["findings"]] == ["datalist"]
    assert sound["findings"] == []


def test_series_are_listed_with_what_tells_them_apart_only_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    two_series(tmp_path)
    assert status_of(["series", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.out.split("\n")[:3] == [
        "1. CT, 2 slices of 6 × 5, 0.8 × 0.9 × 3 mm, axial",
        f"   {DESCRIPTION}",
        f"   {OTHER_UID}",
    ]
    assert "\n3. CT, 1 slice of 6 × 5, 0.8 × 0.9 × 4 mm, coronal, localiser\n   Topogram\n" in printed.out
    assert (printed.err, caplog.text) == ("", "")


def own_ct(folder: Path) -> Path:
    """A data set of the Decathlon's form whose classes are spleen and tumour."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:5, 2:5, 2:6], labels[7:10, 5:8, 2:6] = 1, 2
    save(folder / "a.nii.gz", hu_volume())
    save(folder / "a_label.nii.gz", labels)
    contents = {
        "labels": {"0": "background", "1": "spleen", "2": "tumour"},
        "modality": {"0": "CT"},
        "training": [{"image": "./a.nii.gz", "label": "./a_label.nii.gz"}],
    }
    (folder / "dataset.json").write_text(json.dumps(contents), encoding="utf-8")
    return folder


def test_a_check_prints_the_classes_and_channels_of_the_data_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status_of(["check", str(own_ct(tmp_path))])
    printed = capsys.readouterr().out
    assert "channels: CT\nclasses: 0 background, 1 spleen, 2 tumour\n" in printed
    assert "aorta" not in printed


def test_a_label_table_of_the_users_is_what_a_check_judges_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "own.json"
    classes = [{"name": "background"}, {"name": "tumour", "volume_ml": [50, 90]}]
    table.write_text(json.dumps({"classes": classes}), encoding="utf-8")
    assert status_of(["check", str(own_ct(tmp_path)), "--labels", str(table)]) == 0
    assert "tumour of 0 mL; the usual range is 50 to 90 mL" in capsys.readouterr().out


def test_a_real_ct_of_two_classes_is_called_by_its_own_names_everywhere(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ct = shared / "data" / "ct"
    source: Any = nib.load(ct / "abdomen_3mm_label8.nii.gz")
    labels = np.asarray(source.dataobj)
    own = np.where(labels == 7, 1, np.where(labels == 2, 2, 0)).astype(np.uint8)  # spleen, and the gallbladder's place
    nib.save(nib.Nifti1Image(own, source.affine, source.header), tmp_path / "label.nii.gz")
    (tmp_path / "image.nii.gz").write_bytes((ct / "abdomen_3mm_ct.nii.gz").read_bytes())
    contents = {
        "labels": {"0": "background", "1": "spleen", "2": "tumour"},
        "modality": {"0": "CT"},
        "training": [{"image": "./image.nii.gz", "label": "./label.nii.gz"}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(contents), encoding="utf-8")
    assert status_of(["check", str(tmp_path)]) == 0
    assert "classes: 0 background, 1 spleen, 2 tumour\n0 errors, 0 warnings" in capsys.readouterr().out
    assert status_of(["preview", str(tmp_path)]) == 0
    page = (tmp_path / "preview" / "index.html").read_text(encoding="utf-8")
    assert "<th>spleen</th><th>tumour</th>" in page
    assert "aorta" not in page and "gallbladder" not in page


@pytest.mark.parametrize("command", ["check", "preview"])
def test_a_label_table_that_is_none_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "own.json").write_text("{}", encoding="utf-8")
    reported = status_of([command, str(own_ct(tmp_path)), "--labels", str(tmp_path / "own.json")])
    assert re.match(r"i2net: .*own\.json is not a label table: it needs a list \"classes\"", str(reported))


def test_an_nnunet_folder_without_cases_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contents = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(contents), encoding="utf-8")
    assert status_of(["check", str(tmp_path)]) == 1
    assert "lists no cases, and its imagesTr is empty or missing" in capsys.readouterr().out


def test_a_volume_of_another_modality_is_checked_by_its_channel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "mr.nii.gz", np.random.default_rng(0).gamma(2.0, 400.0, SHAPE).astype(np.int16))
    assert status_of(["check", path]) == 1
    assert "--channels MR" in capsys.readouterr().out
    assert status_of(["check", path, "--channels", "MR"]) == 0
