"""Only regular files are opened; anything else is refused by its kind, without blocking."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from i2net_bundle.checks.cases import CheckedCases, check_case
from i2net_bundle.checks.dataset import check_path
from i2net_bundle.io.findings import DataError, errors
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.io.regular_files import first_bytes
from i2net_bundle.io.tiff import is_tiled_tiff
from tests.checks.ct_files import hu_volume, save


@pytest.fixture
def sockets() -> Iterator[Callable[[Path], None]]:
    opened = []

    def make(path: Path) -> None:
        opened.append(socket.socket(socket.AF_UNIX))
        os.chdir(path.parent)  # the paths of sockets are short
        opened[-1].bind(path.name)

    folder = Path.cwd()
    yield make
    os.chdir(folder)
    for item in opened:
        item.close()


SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".tif", ".jpg"]


def findings_of(path: Path) -> list[str]:
    volume = path.name.endswith((".nii", ".nii.gz", ".nrrd", ".mha"))
    return [found.problem for found in check_case({"image": path}, VolumeOptions() if volume else HistologyOptions())]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pipe_is_refused_without_waiting_for_a_writer(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    os.mkfifo(path)
    assert findings_of(path) == ["is a named pipe (FIFO), not a file"]
    assert not is_tiled_tiff(path)
    with pytest.raises(DataError, match="is a named pipe"):
        CheckedCases([{"image": path}], VolumeOptions())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_device_is_refused(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a{suffix}").symlink_to("/dev/zero")
    assert findings_of(tmp_path / f"a{suffix}") == ["is a character device, not a file"]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".png"])
def test_a_socket_is_refused(suffix: str, tmp_path: Path, sockets: Callable[[Path], None]) -> None:
    sockets(tmp_path / f"a{suffix}")
    assert findings_of(tmp_path / f"a{suffix}") == ["is a socket, not a file"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_link_without_a_target_is_named(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a{suffix}").symlink_to(tmp_path / "gone")
    assert findings_of(tmp_path / f"a{suffix}") == ["is a link whose target is missing"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_path_with_a_nul_character_is_refused_and_printed_escaped(suffix: str) -> None:
    (found,) = check_case({"image": f"a\0b{suffix}"}, VolumeOptions() if suffix in SUFFIXES[:4] else HistologyOptions())
    assert str(found).startswith(rf"a\x00b{suffix}: cannot be opened (its name contains a NUL character)")


def test_a_pipe_does_not_stop_the_check_of_the_other_files(tmp_path: Path) -> None:
    save(tmp_path / "b.nii.gz", hu_volume())
    os.mkfifo(tmp_path / "a.nii.gz")
    report = check_path(tmp_path)
    assert report.cases == {"files": 2}
    assert [Path(found.file).name for found in errors(report.findings)] == ["a.nii.gz"]


def test_the_first_bytes_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    assert first_bytes(tmp_path / "a", 4) == b"0123"
