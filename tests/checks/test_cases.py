"""Cases are checked before work starts: faults stop it or exclude cases, and the run's folder lists them."""

from __future__ import annotations

import csv
import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ignite.engine import Engine
from PIL import Image

from i2net_bundle.checks import CheckedCases, FindingsRecord, check_case, stop_if_failed
from i2net_bundle.checks.verified import Verdicts
from i2net_bundle.io.findings import DataError, Finding, Severity, enforce
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from tests.checks.ct_files import CLASS_NAMES, ORGAN_AFFINE, hu_volume, label_volume, organ_labels, save
from tests.io.dicom.files import truncated

PLAIN = VolumeOptions()
Case = dict[str, str]


@pytest.fixture(autouse=True)
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the verdicts out of the user's cache."""
    folder = tmp_path / "cache"
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *args, **kwargs: str(folder))
    return folder


def sound_case(folder: Path, name: str = "sound", seed: int = 0) -> Case:
    return {
        "image": save(folder / f"{name}_image.nii.gz", hu_volume(seed=seed)),
        "label": save(folder / f"{name}_label.nii.gz", label_volume()),
    }


def case_with_offset(folder: Path, name: str = "offset") -> Case:
    return {**sound_case(folder, name), "image": save(folder / f"{name}_image.nii.gz", hu_volume() + np.int16(1024))}


def case_with_stray_labels(folder: Path, name: str = "stray") -> Case:
    return {**sound_case(folder, name), "label": save(folder / f"{name}_label.nii.gz", label_volume() + np.int16(300))}


def case_with_warning(folder: Path, name: str = "metres") -> Case:
    image = save(folder / f"{name}_image.nii.gz", hu_volume(), np.diag([-0.002, -0.002, 0.003, 1]), xyzt_units=1)
    return {"image": image}


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def start(cases: Any, output_dir: Path) -> None:
    """Run an engine that does nothing, with the record attached."""
    engine = Engine(lambda engine, batch: None)
    FindingsRecord(cases, output_dir).attach(engine)
    engine.run([0])


# One case


@pytest.mark.parametrize("remembers", [False, True], ids=["alone", "with verdicts"])
def test_a_sound_case_has_no_findings(tmp_path: Path, remembers: bool) -> None:
    assert check_case(sound_case(tmp_path), PLAIN, Verdicts() if remembers else None) == []


@pytest.mark.parametrize("remembers", [False, True], ids=["alone", "with verdicts"])
def test_findings_of_both_files_of_a_ct_are_told(tmp_path: Path, remembers: bool) -> None:
    case = {**case_with_offset(tmp_path), "label": str(tmp_path / "absent.nii.gz")}
    image, label = check_case(case, PLAIN, Verdicts() if remembers else None)
    assert (image.file, image.rule) == (case["image"], "offset")
    assert str(label) == f"{case['label']}: cannot be opened (No such file or directory). Check the path."


def test_a_case_may_have_no_label(tmp_path: Path) -> None:
    assert check_case({"image": sound_case(tmp_path)["image"]}, PLAIN) == []


def test_the_type_of_the_options_tells_histology_from_ct(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "image.png")
    Image.fromarray(np.ones((3, 4), np.uint8)).save(tmp_path / "mask.png")
    case = {"image": tmp_path / "image.png", "label": tmp_path / "mask.png"}
    assert check_case({"image": case["image"]}, HistologyOptions()) == []
    (found,) = check_case(case, HistologyOptions())
    assert (found.severity, found.file) == (Severity.ERROR, str(case["label"]))
    assert {found.rule for found in check_case(case, PLAIN)} == {"unreadable"}


# Many cases


def test_checked_cases_are_the_cases(tmp_path: Path) -> None:
    given = [sound_case(tmp_path, "a"), sound_case(tmp_path, "b", seed=1)]
    cases = CheckedCases(given, PLAIN)
    assert cases == given
    assert all(kept is not case for kept, case in zip(cases, given, strict=True))
    assert (cases.findings, cases.failed) == ([], [])


def test_cases_that_cannot_be_used_stop_the_work_and_all_are_named(tmp_path: Path) -> None:
    given = [case_with_offset(tmp_path), sound_case(tmp_path), case_with_stray_labels(tmp_path)]
    with pytest.raises(DataError) as caught:
        CheckedCases(given, PLAIN)
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{given[0]['image']}: looks like HU + 1024: ")
    assert second.startswith(f"{given[2]['label']}: contains 300, 301, 302, 303, 304, 305, 306, 307, 308, which ")


def test_cases_that_cannot_be_used_are_left_out_where_asked_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = [case_with_offset(tmp_path), sound_case(tmp_path), case_with_stray_labels(tmp_path)]
    with caplog.at_level(logging.WARNING, logger="i2net.checks"):
        cases = CheckedCases(given, PLAIN, skip_failed=True)
    assert cases == [given[1]]
    assert cases.failed == [given[0], given[2]]
    assert [finding.file for finding in cases.findings] == [given[0]["image"], given[2]["label"]]
    reported = [(record.levelno, record.getMessage()) for record in caplog.records if record.name == "i2net.checks"]
    assert reported == [(logging.ERROR, str(finding)) for finding in cases.findings]


def test_a_damaged_dicom_series_is_left_out_without_the_name_of_its_patient(tmp_path: Path) -> None:
    scan = tmp_path / "DOE^JOHN"
    truncated(scan)
    cases = CheckedCases([{"image": str(scan)}, sound_case(tmp_path)], PLAIN, skip_failed=True)
    start(cases, tmp_path / "run")
    (row,) = rows_of(tmp_path / "run" / "failed.csv")[1:]
    hidden = str(tmp_path / "[hidden]")
    assert row[0] == hidden and row[1].startswith(f"{hidden}: contains 1 slice that cannot be read")


def test_where_no_case_is_left_the_work_stops_even_if_faults_are_to_be_skipped(tmp_path: Path) -> None:
    given = [case_with_offset(tmp_path), case_with_stray_labels(tmp_path)]
    with pytest.raises(DataError) as caught:
        CheckedCases(given, PLAIN, skip_failed=True)
    assert [finding.file for finding in caught.value.findings] == [given[0]["image"], given[1]["label"]]


def test_warnings_are_logged_and_stop_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = [case_with_warning(tmp_path), sound_case(tmp_path)]
    with caplog.at_level(logging.WARNING, logger="i2net.checks"):
        cases = CheckedCases(given, PLAIN)
    assert (list(cases), cases.failed) == (given, [])
    (found,) = cases.findings
    assert str(found) == (
        f"{given[0]['image']}: records its spacing in meters; converted to 2 x 2 x 3 mm. Check that this is the scan's "
        "spacing."
    )
    reported = [(record.levelno, record.getMessage()) for record in caplog.records if record.name == "i2net.checks"]
    assert reported == [(logging.WARNING, str(found))]


def test_an_empty_list_of_cases_passes(tmp_path: Path) -> None:
    assert CheckedCases([], PLAIN, skip_failed=True) == []


# What is found


def test_a_data_error_tells_a_line_per_finding_and_travels_between_processes() -> None:
    findings = [
        Finding(Severity.ERROR, "empty", "a.nii.gz", "is empty (0 bytes)", "Download it again."),
        Finding(Severity.ERROR, "shape", "b.nii.gz", "has shape (3,)", "Give a volume."),
    ]
    error = pickle.loads(pickle.dumps(DataError(findings)))
    assert error.findings == findings
    assert str(error) == "a.nii.gz: is empty (0 bytes). Download it again.\nb.nii.gz: has shape (3,). Give a volume."


def test_enforcing_logs_warnings_and_raises_errors_alone(caplog: pytest.LogCaptureFixture) -> None:
    slip = Finding(Severity.WARNING, "units", "a.nii.gz", "is in metres", "Check it.")
    fault = Finding(Severity.ERROR, "empty", "a.nii.gz", "is empty", "Download it again.")
    with caplog.at_level(logging.WARNING, logger="i2net.checks"):
        enforce([slip])
        with pytest.raises(DataError, match=r"^a\.nii\.gz: is empty\. Download it again\.$"):
            enforce([fault])
    assert caplog.messages == [str(slip)]


# The run's folder


def test_findings_and_failed_cases_are_kept_in_the_run_s_folder(tmp_path: Path) -> None:
    given = [
        case_with_offset(tmp_path),
        sound_case(tmp_path),
        case_with_stray_labels(tmp_path),
        case_with_warning(tmp_path),
    ]
    cases = CheckedCases(given, PLAIN, skip_failed=True)
    start(cases, tmp_path / "run")
    header, *rows = rows_of(tmp_path / "run" / "data_findings.csv")
    assert header == ["severity", "rule", "file", "problem", "remedy"]
    assert [row[:3] for row in rows] == [
        ["error", "offset", given[0]["image"]],
        ["error", "labels", given[2]["label"]],
        ["warning", "units", given[3]["image"]],
    ]
    assert [row[3:] for row in rows] == [[found.problem, found.remedy] for found in cases.findings]
    assert rows_of(tmp_path / "run" / "failed.csv") == [
        ["image", "reason"],
        [given[0]["image"], str(cases.findings[0])],
        [given[2]["image"], str(cases.findings[1])],
    ]


def test_the_first_of_several_faults_is_the_reason_of_a_failed_case(tmp_path: Path) -> None:
    both = {**case_with_offset(tmp_path), "label": case_with_stray_labels(tmp_path)["label"]}
    cases = CheckedCases([both, sound_case(tmp_path)], PLAIN, skip_failed=True)
    start(cases, tmp_path)
    assert len(rows_of(tmp_path / "data_findings.csv")) == 3
    assert rows_of(tmp_path / "failed.csv")[1:] == [[both["image"], str(cases.findings[0])]]


def test_warnings_alone_leave_no_list_of_failed_cases(tmp_path: Path) -> None:
    start(CheckedCases([case_with_warning(tmp_path)], PLAIN), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["data_findings.csv"]


def test_faultless_cases_leave_nothing_and_take_away_the_lists_of_an_earlier_run(tmp_path: Path) -> None:
    cases = CheckedCases([sound_case(tmp_path)], PLAIN)
    start(cases, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    for name in ("data_findings.csv", "failed.csv"):
        (tmp_path / "run" / name).write_text("old", encoding="utf-8")
    start(cases, tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_plain_list_has_nothing_to_tell(tmp_path: Path) -> None:
    start([{"image": "absent.nii.gz"}], tmp_path / "run")
    assert not (tmp_path / "run").exists()
    stop_if_failed([{"image": "absent.nii.gz"}], tmp_path / "run")


@pytest.mark.parametrize("make", [sound_case, case_with_warning], ids=["faultless", "with a warning"])
def test_a_run_without_failed_cases_ends_well(tmp_path: Path, make: Any) -> None:
    stop_if_failed(CheckedCases([make(tmp_path)], PLAIN), tmp_path)


def test_a_run_that_left_cases_out_ends_with_an_error_that_says_where_they_are_listed(tmp_path: Path) -> None:
    given: list[Mapping[str, str]] = [case_with_offset(tmp_path), sound_case(tmp_path), sound_case(tmp_path, "other")]
    cases = CheckedCases(given, PLAIN, skip_failed=True)
    with pytest.raises(DataError) as caught:
        stop_if_failed(cases, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'failed.csv'}: lists 1 of 3 cases that could not be used; the others are done. Correct those "
        "files and run them again."
    )


def test_organs_out_of_place_are_recorded_and_stop_nothing(tmp_path: Path) -> None:
    labels = organ_labels()
    case = {
        "image": save(tmp_path / "image.nii.gz", hu_volume(labels.shape), ORGAN_AFFINE),
        "label": save(tmp_path / "label.nii.gz", labels[:, :, ::-1], ORGAN_AFFINE),
    }
    cases = CheckedCases([case], VolumeOptions(classes=CLASS_NAMES))
    start(cases, tmp_path)
    ((severity, rule, file, problem, _),) = rows_of(tmp_path / "data_findings.csv")[1:]
    assert (severity, rule, file) == ("warning", "organ-position", case["label"])
    assert problem.startswith("the patient seems upside down: ")
