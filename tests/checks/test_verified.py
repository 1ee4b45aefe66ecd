"""A case without faults is checked once, and the record of it identifies no patient."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import i2net_bundle
from i2net_bundle.checks import CheckedCases, cases, check_case
from i2net_bundle.checks import verified as verdicts
from i2net_bundle.checks.verified import Verdicts
from i2net_bundle.io.options import VolumeOptions
from tests.checks.ct_files import hu_volume, label_volume, save

PLAIN = VolumeOptions()
Case = dict[str, str]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return {
        "image": save(tmp_path / "Jane_Roe_1970.nii.gz", hu_volume()),
        "label": save(tmp_path / "Jane_Roe_1970_label.nii.gz", label_volume()),
    }


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The images that were really checked, in turn."""
    calls: list[Any] = []
    check_volume = cases.check_volume

    def counted(image_path: Any, *rest: Any) -> Any:
        calls.append(image_path)
        return check_volume(image_path, *rest)

    monkeypatch.setattr(cases, "check_volume", counted)
    return calls


def test_a_faultless_case_is_not_checked_a_second_time(tmp_path: Path, case: Case, checked: list[Any]) -> None:
    for _ in range(3):  # a new object each time, as in another run
        assert check_case(case, PLAIN, Verdicts(tmp_path / "cache")) == []
    assert checked == [case["image"]]


def test_without_verdicts_a_case_is_checked_each_time(case: Case, checked: list[Any]) -> None:
    for _ in range(2):
        assert check_case(case, PLAIN) == []
    assert len(checked) == 2


def test_checked_cases_remember_in_the_user_s_cache_folder(
    tmp_path: Path, case: Case, checked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    for _ in range(2):
        assert CheckedCases([case], PLAIN) == [case]
    assert len(checked) == 1
    assert [path.parent for path in (tmp_path / "cache").rglob("*.txt")] == [tmp_path / "cache" / "i2net"]


@pytest.mark.parametrize("key", ["image", "label"])
def test_changed_content_is_checked_again(tmp_path: Path, case: Case, checked: list[Any], key: str) -> None:
    known = Verdicts(tmp_path / "cache")
    assert check_case(case, PLAIN, known) == []
    changed = hu_volume(seed=1) if key == "image" else np.flip(label_volume())
    save(Path(case[key]), changed)
    assert check_case(case, PLAIN, known) == []
    assert len(checked) == 2


def test_a_file_that_went_bad_is_found_whatever_was_remembered(tmp_path: Path, case: Case) -> None:
    known = Verdicts(tmp_path / "cache")
    assert check_case(case, PLAIN, known) == []
    Path(case["image"]).write_bytes(Path(case["image"]).read_bytes()[:-40])
    (found,) = check_case(case, PLAIN, known)
    assert found.file == case["image"]
    Path(case["image"]).unlink()
    (found,) = check_case(case, PLAIN, known)
    assert str(found) == f"{case['image']}: cannot be opened (No such file or directory). Check the path."


@pytest.mark.parametrize(
    "options",
    [VolumeOptions(classes=tuple("abcdefghi")), VolumeOptions(geometry="image"), VolumeOptions(hu_offset=1.0)],
    ids=["class names", "geometry", "offset"],
)
def test_other_options_are_checked_again(
    tmp_path: Path, case: Case, checked: list[Any], options: VolumeOptions
) -> None:
    known = Verdicts(tmp_path / "cache")
    for chosen in (PLAIN, options, PLAIN, options):
        assert check_case(case, chosen, known) == []
    assert len(checked) == 2


def test_an_image_without_its_label_is_another_case(tmp_path: Path, case: Case, checked: list[Any]) -> None:
    known = Verdicts(tmp_path / "cache")
    for chosen in (case, {"image": case["image"]}, {"image": case["image"]}):
        assert check_case(chosen, PLAIN, known) == []
    assert len(checked) == 2


def test_another_version_checks_again(
    tmp_path: Path, case: Case, checked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_case(case, PLAIN, Verdicts(tmp_path / "cache"))
    monkeypatch.setattr(i2net_bundle, "__version__", "99.0.0")
    check_case(case, PLAIN, Verdicts(tmp_path / "cache"))
    assert len(checked) == 2
    monkeypatch.setattr(verdicts, "CHECKS_VERSION", verdicts.CHECKS_VERSION + 1)
    check_case(case, PLAIN, Verdicts(tmp_path / "cache"))
    assert len(checked) == 3


def test_the_same_content_under_another_name_is_known(tmp_path: Path, case: Case, checked: list[Any]) -> None:
    known = Verdicts(tmp_path / "cache")
    check_case(case, PLAIN, known)
    moved = {key: str(Path(path).rename(tmp_path / f"moved_{key}.nii.gz")) for key, path in case.items()}
    assert check_case(moved, PLAIN, known) == []
    assert len(checked) == 1


@pytest.mark.parametrize(
    ("voxels", "fields", "rule"),
    [(hu_volume(), {"xyzt_units": 3}, "units"), (hu_volume() + np.int16(1024), {}, "offset")],
    ids=["warning", "error"],
)
def test_a_case_with_a_finding_is_reported_each_time(
    tmp_path: Path, checked: list[Any], voxels: np.ndarray, fields: dict[str, float], rule: str
) -> None:
    image = {"image": save(tmp_path / "ct.nii.gz", voxels, np.diag([-2.0, -2, 3, 1]), **fields)}
    for _ in range(2):
        assert rule in {found.rule for found in check_case(image, PLAIN, Verdicts(tmp_path / "cache"))}
    assert len(checked) == 2
    assert not (tmp_path / "cache").exists()


def test_the_record_contains_only_hashes(tmp_path: Path, case: Case) -> None:
    known = Verdicts(tmp_path / "cache")
    check_case(case, PLAIN, known)
    check_case(case, VolumeOptions(classes=("background", *"abcdefgh")), known)
    (file,) = (tmp_path / "cache").iterdir()
    assert file == known.path
    lines = file.read_text(encoding="ascii").splitlines()
    assert len(lines) == len(set(lines)) == 2
    assert all(re.fullmatch("[0-9a-f]{64}", line) for line in lines)
    assert re.fullmatch(r"faultless-\d+\.txt", file.name)


@pytest.mark.parametrize("below", ["file", "file/deeper"])
def test_a_folder_that_cannot_be_written_does_no_harm(
    tmp_path: Path, case: Case, checked: list[Any], below: str
) -> None:
    (tmp_path / "file").write_text("no folder", encoding="ascii")
    for _ in range(2):
        assert check_case(case, PLAIN, Verdicts(tmp_path / below)) == []
    assert len(checked) == 2
    assert (tmp_path / "file").read_text(encoding="ascii") == "no folder"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"half a line"], ids=["binary", "empty", "text"])
def test_a_damaged_memory_does_no_harm(tmp_path: Path, case: Case, checked: list[Any], content: bytes) -> None:
    (tmp_path / "cache").mkdir()
    Verdicts(tmp_path / "cache").path.write_bytes(content)
    assert check_case(case, PLAIN, Verdicts(tmp_path / "cache")) == []
    assert len(checked) == 1
