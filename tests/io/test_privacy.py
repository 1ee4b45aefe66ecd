"""Identifying names are recognised, and hidden in messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2net_bundle.io.privacy import is_identifying, shown_path, without_identifiers

UID = "1.3.12.2.1107.5.1.4.60064.30000022120808113428000016573"


@pytest.mark.parametrize(
    "name",
    [UID, f"CT.{UID}", f"CT{UID}.dcm", f"{UID}_0001", "2.25.329800735698586629295641978511506172918", "DOE^JOHN"],
)
def test_a_uid_and_a_name_with_dicoms_separator_are_identifying(name: str) -> None:
    assert is_identifying(name)


@pytest.mark.parametrize(
    "name", ["0001", "IM-0001-0002.dcm", "p1", "2024.05.01", "2024.05.01.12.30", "v2.1.0", "ct.nii.gz", ".", "12.5.3.1"]
)
def test_numbers_dates_and_versions_are_not_identifying(name: str) -> None:
    assert not is_identifying(name)


def test_identifiers_are_hidden_in_folder_paths_but_not_in_file_paths(tmp_path: Path) -> None:
    folder = tmp_path / "DOE^JOHN" / UID / "scan"
    folder.mkdir(parents=True)
    file = folder / "ct.nii.gz"
    file.touch()
    assert shown_path(folder) == str(tmp_path / "[hidden]" / "[hidden]" / "scan")
    assert shown_path(file) == str(file)
    assert shown_path(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"Invalid value for VR UI: '{UID}'.", "Invalid value for VR UI: '[hidden]'."),
        (f"No such file: '/scans/DOE^JOHN B/CT.{UID}'", "No such file: '/scans/[hidden]/[hidden]'"),
        ("misses slices: 10 mm between slices 3 and 4", "misses slices: 10 mm between slices 3 and 4"),
    ],
    ids=["value", "path", "nothing to hide"],
)
def test_identifiers_are_removed_from_library_messages(text: str, shown: str) -> None:
    assert without_identifiers(text) == shown
