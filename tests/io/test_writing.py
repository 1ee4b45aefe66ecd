"""Files are complete or absent, also on a full disk and after a kill."""

from __future__ import annotations

import csv
import errno
import os
import resource
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from i2net_bundle.io import writing
from i2net_bundle.io.writing import (
    TEMPORARY,
    DiskFullError,
    remove_leftovers,
    require_space,
    staged_folder,
    write_csv,
    write_rows,
    written_whole,
)


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "mask.nii.gz"
    with written_whole(path) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.name.endswith(".nii.gz")
    assert path.read_bytes() == b"half"
    assert os.listdir(path.parent) == ["mask.nii.gz"]


def test_a_name_of_255_bytes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / f"{'n' * 248}.nii.gz"
    with written_whole(path) as temporary:
        temporary.write_bytes(b"")
    assert path.exists()


def test_a_failed_write_keeps_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("before")
    with pytest.raises(ValueError, match="broken"), written_whole(path) as temporary:
        temporary.write_text("half")
        raise ValueError("broken")
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.json"]


def test_file_and_folder_are_flushed_around_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    flush, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (steps.append(Path(os.readlink(f"/proc/self/fd/{fd}")).suffix), flush(fd))
    )
    monkeypatch.setattr(os, "replace", lambda *paths: (steps.append("rename"), replace(*paths)))
    with written_whole(tmp_path / "a.json") as temporary:
        temporary.write_text("{}")
    assert steps == [".json", "rename", ""]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from i2net_bundle.io.writing import staged_folder, written_whole
    with written_whole(Path(sys.argv[1], "a.csv")) as temporary, staged_folder(Path(sys.argv[1], "data")) as folder:
        temporary.write_text("half")
        (folder / "b.csv").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_writer_of_a_folder_removes_what_a_kill_leaves(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)], check=False)
    assert len(list(tmp_path.glob(f"{TEMPORARY}*"))) == 2
    with written_whole(tmp_path / "c.csv") as temporary:
        temporary.write_text("whole")
    assert os.listdir(tmp_path) == ["c.csv"]


def test_files_that_are_being_written_are_not_leftovers(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a.csv"), staged_folder(tmp_path / "data"):
        assert remove_leftovers(tmp_path) == []
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "data"]


def test_a_full_disk_is_named_with_file_and_remedy_and_the_earlier_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_text("before")
    with (
        pytest.raises(
            DiskFullError, match=rf"{path} was not written: the disk is full\. Free some space or choose another"
        ),
        written_whole(path),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["model.pt"]


def test_an_error_that_a_library_words_itself_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(DiskFullError, match="the disk is full"), written_whole(tmp_path / "a.nrrd"):
        raise RuntimeError("itk::ERROR: NrrdImageIO")


def test_a_limit_on_the_size_of_files_is_named(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with (
            pytest.raises(DiskFullError, match="the limit on the size of a file is reached"),
            written_whole(tmp_path / "a.bin") as temporary,
        ):
            temporary.write_bytes(bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_space_is_checked_before_writing(tmp_path: Path) -> None:
    require_space(tmp_path / "model.pt", 1)
    with pytest.raises(DiskFullError, match=r"model\.pt was not written: it needs \d+\.0 MB, and"):
        require_space(tmp_path / "model.pt", 10**18)


@pytest.mark.parametrize("file", [True, False], ids=["file", "folder with content"])
def test_a_staged_folder_replaces_nothing(file: bool, tmp_path: Path) -> None:
    target = tmp_path / "out"
    if file:
        target.touch()
    else:
        (target / "a").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="nothing is overwritten"), staged_folder(target):
        pass


def test_locks_are_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "fcntl", None)
    with written_whole(tmp_path / "a.csv") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "a.csv").read_text() == "whole"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=HYPERLINK(A1)", "'=HYPERLINK(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-scan.nii", "'-scan.nii"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1+1", r"'\t=1+1"),
        ("\r\n=1+1", r"'\r" + "\n=1+1"),
        ("＝1+1", "'＝1+1"),
        ("a\x1b[31m", r"a\x1b[31m"),
        ("-5.2", "-5.2"),
        ("+1e-3", "+1e-3"),
        ("-inf", "-inf"),
        ("-", "-"),
        ("liver", "liver"),
        ("", ""),
    ],
)
def test_cells_that_a_spreadsheet_would_run_become_text_and_numbers_stay(text: str, cell: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["name", text], [[text, -1.5]])
    write_rows(tmp_path / "b.csv", [{"name": text, text or "x": -1.5}])
    for name in ("a.csv", "b.csv"):
        with (tmp_path / name).open(newline="", encoding="utf-8") as file:
            header, row = csv.reader(file)
        assert row == [cell, "-1.5"]
        assert header[1] == cell or not text
