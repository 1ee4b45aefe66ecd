"""Images of a folder are found through links too, and links that cannot be followed are reported."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from i2net_bundle.data.image_files import list_images
from i2net_bundle.io.file_listing import files_below


def touched(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def names(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in files_below(folder)]


def test_a_linked_folder_is_searched(tmp_path: Path) -> None:
    touched(tmp_path / "elsewhere" / "p2" / "scan" / "ct.nii.gz")
    touched(tmp_path / "study" / "p1" / "ct.nii.gz")
    (tmp_path / "study" / "p2").symlink_to(tmp_path / "elsewhere" / "p2")
    found = [case["image"] for case in list_images(tmp_path / "study", recursive=True)]
    assert found == [str(tmp_path / "study" / name) for name in ("p1/ct.nii.gz", "p2/scan/ct.nii.gz")]


def test_a_folder_is_searched_once_even_if_links_lead_to_it_and_in_circles(tmp_path: Path) -> None:
    touched(tmp_path / "study" / "z" / "a.png")
    (tmp_path / "study" / "link").symlink_to(tmp_path / "study" / "z")
    (tmp_path / "study" / "z" / "circle").symlink_to(tmp_path / "study")
    assert names(tmp_path / "study") == ["z/a.png"]


def test_a_link_to_a_folder_above_is_skipped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touched(tmp_path / "secret" / "b.png")
    touched(tmp_path / "study" / "a.png")
    (tmp_path / "study" / "up").symlink_to(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path / "study") == ["a.png"]
    assert "up: is a link to a folder above it, and was not followed." in caplog.text


def test_broken_links_are_cases_that_fail_or_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touched(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "patient2").symlink_to(tmp_path / "gone")
    with caplog.at_level(logging.WARNING):
        assert [case["case"] for case in list_images(tmp_path, recursive=True)] == ["a", "b"]
    assert "patient2: is a link whose target is missing, and was left out." in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_without_permission_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touched(tmp_path / "p1" / "a.png")
    (tmp_path / "p1").chmod(0)
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path) == []
    assert "p1: cannot be read (Permission denied); its files are left out." in caplog.text


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("._a.png", ".cache/b.png", "c.png"):
        touched(tmp_path / name)
    assert names(tmp_path) == ["c.png"]
