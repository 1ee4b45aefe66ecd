"""DICOM cases of a folder tree are found through links, and without suffixes or preambles."""

from __future__ import annotations

import os
from pathlib import Path

from i2net_bundle.io.dicom.series import list_series
from i2net_bundle.io.dicom.trees import dicom_folders
from tests.io.dicom.files import OTHER_UID, write_ct
from tests.io.dicom.test_headers import without_preamble


def test_a_linked_patient_is_a_case_like_the_others(tmp_path: Path) -> None:
    write_ct(tmp_path / "store" / "a")
    write_ct(tmp_path / "study" / "b", uid=OTHER_UID)
    os.symlink(tmp_path / "store" / "a", tmp_path / "study" / "a")
    assert dicom_folders(tmp_path / "study") == [tmp_path / "study" / "a", tmp_path / "study" / "b"]


def test_links_in_a_circle_and_pipes_do_not_stop_the_search(tmp_path: Path) -> None:
    write_ct(tmp_path / "a")
    os.symlink(tmp_path, tmp_path / "a" / "up")
    os.mkfifo(tmp_path / "a" / "9.dcm")
    assert dicom_folders(tmp_path) == [tmp_path]
    assert [series.num_slices for series in list_series(tmp_path)] == [4]


def test_patients_whose_files_lack_preamble_and_suffix_are_cases(tmp_path: Path) -> None:
    for name, uid in (("a", "1.2.3.7"), ("b", OTHER_UID)):
        for path in sorted(write_ct(tmp_path / name, uid=uid).glob("*.dcm")):
            without_preamble(path)
    assert dicom_folders(tmp_path) == [tmp_path / "a", tmp_path / "b"]
