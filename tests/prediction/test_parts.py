"""Parts of a cohort: fixed shares, folders of their own, and a merge that equals one process."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from i2net_bundle.prediction import cohort, merging
from i2net_bundle.prediction.cohort import predict_files
from i2net_bundle.prediction.cohort_record import CohortRecord
from i2net_bundle.prediction.cohort_result import ALL_FAILED, SOME_FAILED, CohortResult
from i2net_bundle.prediction.merging import merge_parts
from i2net_bundle.prediction.output_folders import check_part
from i2net_bundle.prediction.parts import Part, part_folders
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.workflow.folder_lock import FolderInUseError
from tests.checks.ct_files import hu_volume, save
from tests.prediction.test_interruptions import contents

NAMES = ("a", "b", "c", "d")
HALVES = Part(1, 2), Part(2, 2)


@pytest.fixture(scope="module")
def network(weights: Path) -> Predictor:
    return Predictor(weights, overrides={"image_size": [32, 32]})


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four volumes and a broken file."""
    folder = tmp_path_factory.mktemp("cohort") / "scans"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        save(folder / f"{name}.nii.gz", np.roll(hu_volume((20, 18, 3)), number, 1))
    (folder / "broken.nii.gz").write_bytes(b"<html>")
    return folder


@pytest.fixture(scope="module")
def made(scans: Path, network: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both parts, not merged."""
    out = tmp_path_factory.mktemp("made") / "out"
    for part in HALVES:
        predict_files([scans], out, network, part=part)
    return out


@pytest.fixture
def parts(made: Path, tmp_path: Path) -> Path:
    """A copy of both parts."""
    return Path(shutil.copytree(made, tmp_path / "out"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0/4", r"--part 0/4: parts are numbered from 1 to 4\. A SLURM array needs --array=1-4, not 0-3"),
        ("5/4", r"--part 5/4: there is no part 5 of 4\. The parts are 1 to 4"),
        ("1/0", r"--part 1/0: there must be at least one part"),
        ("1", r"--part takes K/N, such as 1/4, not '1'"),
        ("-1/4", "--part takes K/N"),
    ],
)
def test_a_part_that_does_not_exist_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Part.parse(text)


@pytest.mark.parametrize("of", [1, 2, 7])
def test_every_case_has_one_part_whatever_else_there_is(of: int) -> None:
    parts = [Part(number, of) for number in range(1, of + 1)]
    shares = {name: [part for part in parts if part.contains(name)] for name in map("case_{:03d}".format, range(300))}
    assert all(len(own) == 1 for own in shares.values())
    assert {own[0] for own in shares.values()} == set(parts)


def test_the_share_of_a_case_never_changes() -> None:
    """Other shares than these would make cohorts in work miss cases."""
    assert [name for name in map("case_{}".format, range(12)) if Part(1, 3).contains(name)] == [
        "case_5",
        "case_6",
        "case_10",
    ]


def test_merged_parts_equal_one_process(parts: Path, scans: Path, network: Predictor, tmp_path: Path) -> None:
    assert {path.name for path in parts.iterdir()} == {"part_1_of_2", "part_2_of_2"}
    shares = [len(json.loads((folder / "prediction.json").read_text())["status"]) for folder in parts.iterdir()]
    assert sum(shares) == 5 and min(shares) > 0
    result = merge_parts(parts)
    assert result.failed == [str(scans / "broken.nii.gz")]
    assert [outcome.case for outcome in result.outcomes] == ["a", "b", "broken", "c", "d"]
    assert predict_files([scans], tmp_path / "whole", network).outcomes[0].files == result.outcomes[0].files
    assert contents(parts) == contents(tmp_path / "whole")


def test_a_merged_folder_can_be_continued(parts: Path, scans: Path, network: Predictor) -> None:
    merge_parts(parts)
    result = predict_files([scans], parts, network, resume=True)
    assert result.done_before == 4 and len(result.failed) == 1


@pytest.mark.parametrize("moment", ["files", "tables", "end"])
def test_an_interrupted_merge_is_completed_by_the_next(
    moment: str, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = Path(shutil.copytree(parts, tmp_path / "undisturbed"))
    merge_parts(undisturbed)
    with monkeypatch.context() as patch:
        if moment == "files":
            moved = []

            def replace(source: Path, target: Path) -> None:
                if len(moved) == 2:
                    raise KeyboardInterrupt
                moved.append(os.rename(source, target))

            patch.setattr(merging.os, "replace", replace)
        elif moment == "tables":
            patch.setattr(CohortRecord, "write_tables", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        else:
            patch.setattr(merging, "TABLES", [Path()])  # a folder, which cannot be deleted as a file
        with pytest.raises((KeyboardInterrupt, OSError)):
            merge_parts(parts)
    merge_parts(parts)
    assert contents(parts) == contents(undisturbed)


def test_an_interrupted_part_is_continued_and_others_wait_for_it(parts: Path, scans: Path, network: Predictor) -> None:
    (record,) = (parts / "part_2_of_2").glob("prediction.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"complete": False}))
    with pytest.raises(ValueError, match=r"part_2_of_2 is not complete\. .* --part 2/2 --continue"):
        merge_parts(parts)
    result = predict_files([scans], parts, network, resume=True, part=Part(2, 2))
    assert result.done_before == len(result.outcomes) - len(result.failed)
    merge_parts(parts)


def changed(folder: Path, **values: object) -> None:
    path = folder / "prediction.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_missing_part_is_named(parts: Path) -> None:
    shutil.rmtree(parts / "part_1_of_2")
    with pytest.raises(FileNotFoundError, match=r"lacks part 1 of 2\. Predict with --part 1/2 first"):
        merge_parts(parts)


def test_parts_of_other_inputs_are_not_merged(parts: Path) -> None:
    part = json.loads((parts / "part_2_of_2" / "prediction.json").read_text())["part"]
    changed(parts / "part_2_of_2", part=part | {"cohort": 9, "cohort_sha256": "0"})
    with pytest.raises(ValueError, match=r"Part 2/2 was made of 9 images, part 1/2 of 5, and they are not the same"):
        merge_parts(parts)


def test_parts_of_other_settings_are_not_merged(parts: Path) -> None:
    changed(parts / "part_2_of_2", pictures=False)
    with pytest.raises(ValueError, match=r"prediction\.json records predictions with pictures false, here true"):
        merge_parts(parts)


def test_parts_of_other_versions_are_reported(parts: Path, caplog: pytest.LogCaptureFixture) -> None:
    changed(parts / "part_2_of_2", versions={"torch": "1"})
    merge_parts(parts)
    assert "Part 2/2 was made with other versions of packages than part 1/2" in caplog.text


def test_parts_of_several_divisions_are_not_merged(parts: Path) -> None:
    shutil.copytree(parts / "part_1_of_2", parts / "part_1_of_3")
    with pytest.raises(ValueError, match="contains parts of 2 and of 3"):
        merge_parts(parts)


def test_a_part_whose_files_are_gone_is_not_merged(parts: Path) -> None:
    next(parts.rglob("*_mask.nii.gz")).unlink()
    with pytest.raises(FileNotFoundError, match=r"_mask\.nii\.gz is missing\. Predict its part again"):
        merge_parts(parts)


def test_a_record_does_not_move_files_from_elsewhere(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").touch()
    table = next(path for path in parts.rglob("cases.jsonl") if "_mask.nii.gz" in path.read_text())
    lines = [json.loads(line) for line in table.read_text().splitlines()]
    for line in lines:
        line["files"] = ["../../secret.txt"]
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ValueError, match="records a file outside of it"):
        merge_parts(parts)
    assert (tmp_path / "secret.txt").exists()


def test_a_merge_replaces_nothing(parts: Path) -> None:
    (parts / "a_mask.nii.gz").write_bytes(b"somebody's mask")
    with pytest.raises(FileExistsError, match=r"a_mask\.nii\.gz exists and would be replaced"):
        merge_parts(parts)
    assert len(part_folders(parts)) == 2


def test_files_of_others_in_a_part_are_kept(parts: Path, caplog: pytest.LogCaptureFixture) -> None:
    (parts / "part_1_of_2" / "notes.txt").touch()
    merge_parts(parts)
    assert (parts / "part_1_of_2" / "notes.txt").exists() and "was kept" in caplog.text


def test_a_folder_without_parts_is_not_merged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="contains no parts of a cohort"):
        merge_parts(tmp_path)


def test_a_part_in_work_is_not_merged(parts: Path) -> None:
    with (
        FileLock(parts / "part_1_of_2" / ".i2net.lock"),
        pytest.raises(FolderInUseError, match="part_1_of_2 is in use"),
    ):
        merge_parts(parts)


def test_the_same_part_is_not_made_twice(parts: Path, scans: Path, network: Predictor) -> None:
    with pytest.raises(FileExistsError, match=r"part_1_of_2 already contains predictions\. Add --continue"):
        predict_files([scans], parts, network, part=Part(1, 2))
    with FileLock(parts / "part_1_of_2" / ".i2net.lock"), pytest.raises(FolderInUseError):
        predict_files([scans], parts, network, part=Part(1, 2), resume=True)


def test_the_same_cases_are_not_made_in_another_way(parts: Path, scans: Path, network: Predictor) -> None:
    with pytest.raises(FileExistsError, match="contains parts of 2, which would contain the same cases as part 1/3"):
        predict_files([scans], parts, network, part=Part(1, 3))
    assert not (parts / "part_1_of_3").exists()
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(FileExistsError, match=r"contains 2 parts of a cohort\. Merge them with `i2net merge`"):
            predict_files([scans], parts, network, **how)


def test_parts_do_not_join_a_whole_cohort(scans: Path, network: Predictor, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".i2net.lock"), pytest.raises(FolderInUseError):
        predict_files([scans], out, network, part=Part(1, 2))
    predict_files([scans / "a.nii.gz"], tmp_path / "whole", network)
    with pytest.raises(FileExistsError, match="already contains predictions of the whole cohort"):
        predict_files([scans], tmp_path / "whole", network, part=Part(1, 2))


def test_parts_of_two_divisions_that_start_at_once_notice_each_other(
    parts: Path, scans: Path, network: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []

    def check(out_dir: Path, part: Part) -> None:
        checked.append(part)
        if len(checked) == 1:
            return  # nothing was there yet
        check_part(out_dir, part)

    monkeypatch.setattr(cohort, "check_part", check)
    with pytest.raises(FileExistsError, match="contains parts of 2, which would contain the same cases as part 1/3"):
        predict_files([scans], parts, network, part=Part(1, 3))
    merge_parts(parts)  # what the refused one left does not count


def test_a_part_with_other_settings_than_its_neighbour_is_refused(parts: Path, scans: Path, network: Predictor) -> None:
    shutil.rmtree(parts / "part_2_of_2")
    with pytest.raises(ValueError, match=r"part_1_of_2/prediction\.json records predictions with pictures true"):
        predict_files([scans], parts, network, part=Part(2, 2), pictures=False)


def test_a_part_without_cases_is_complete(scans: Path, network: Predictor, tmp_path: Path) -> None:
    (empty,) = (part for part in HALVES if not part.contains("a"))
    result = predict_files([scans / "a.nii.gz"], tmp_path / "out", network, part=empty)
    assert result.outcomes == [] and result.exit_status == 0
    predict_files([scans / "a.nii.gz"], tmp_path / "out", network, part=HALVES[empty == HALVES[0]])
    assert [outcome.case for outcome in merge_parts(tmp_path / "out").outcomes] == ["a"]


def test_the_exit_status_tells_some_from_all(scans: Path, network: Predictor, tmp_path: Path) -> None:
    broken = scans / "broken.nii.gz"
    assert predict_files([broken], tmp_path / "all", network).exit_status == ALL_FAILED
    some = predict_files([broken, scans / "a.nii.gz"], tmp_path / "some", network, pictures=False)
    assert some.exit_status == SOME_FAILED
    assert CohortResult(tmp_path, []).exit_status == 0
    told = some.as_json()
    assert (told["images"], told["ok"] + told["warning"], told["failed"][0]["image"]) == (2, 1, str(broken))
