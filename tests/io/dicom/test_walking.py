"""Linked folders are followed, each once; hidden files, pipes and devices are skipped."""

from __future__ import annotations

import os
from pathlib import Path

from i2net_bundle.io.dicom.trees import dicom_folders
from i2net_bundle.io.dicom.walking import files_below
from tests.io.dicom.files import OTHER_UID, write_ct


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in files_below(folder))


def test_a_linked_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "1.dcm").touch()
    (tmp_path / "study").mkdir()
    os.symlink(tmp_path / "store", tmp_path / "study" / "patient")
    assert names(tmp_path / "study") == ["patient/1.dcm"]


def test_links_in_a_circle_end_and_each_folder_is_visited_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.dcm").touch()
    os.symlink(tmp_path, tmp_path / "a" / "up")
    os.symlink(tmp_path / "a", tmp_path / "b")
    assert len(names(tmp_path)) == 1


def test_hidden_files_pipes_and_broken_links_are_skipped(tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "1.dcm").touch()
    (tmp_path / "._2.dcm").touch()
    os.mkfifo(tmp_path / "3.dcm")
    os.symlink(tmp_path / "absent", tmp_path / "4.dcm")
    (tmp_path / "5.dcm").touch()
    assert names(tmp_path) == ["5.dcm"]


def test_a_linked_patient_is_a_case_like_the_others(tmp_path: Path) -> None:
    write_ct(tmp_path / "store" / "a")
    write_ct(tmp_path / "study" / "b", uid=OTHER_UID)
    os.symlink(tmp_path / "store" / "a", tmp_path / "study" / "a")
    assert dicom_folders(tmp_path / "study") == [tmp_path / "study" / "a", tmp_path / "study" / "b"]
