"""One child process reads all files; a crash, a hang or a lack of memory is an error of that file only."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813, its usual name

from i2net_bundle.checks.cases import check_case
from i2net_bundle.io import itk_process
from i2net_bundle.io.itk import read_geometry
from i2net_bundle.io.itk_process import ItkError, read_with_itk
from i2net_bundle.io.options import VolumeOptions
from tests.checks.ct_files import hu_volume, save
from tests.io.dicom.files import write_ct
from tests.io.volume_files import converted


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return converted(save(tmp_path / "ct.nii.gz", hu_volume()), ".mha")


def child() -> int:
    process = itk_process._child._process
    assert process is not None
    return process.pid


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("components", [1, 3])
def test_voxels_and_geometry_are_those_that_simpleitk_reads(components: int, dtype: type, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 200, (4, 5, 6, components)).astype(dtype)
    image = sitk.GetImageFromArray(values[..., 0] if components == 1 else values, isVector=components > 1)
    image.SetSpacing((1.5, 2, 3))
    image.SetOrigin((-7, 8.25, 9))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    read = read_with_itk(tmp_path / "a.nrrd", values.nbytes)
    assert read.voxels is not None and read.voxels.dtype == dtype
    assert np.array_equal(read.voxels, sitk.GetArrayViewFromImage(image))
    assert (read.size, read.components) == ((6, 5, 4), components)
    assert (read.spacing, read.origin, read.direction) == (image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def test_the_header_alone_brings_no_voxels(volume: Path) -> None:
    read = read_geometry(volume)
    assert (read.size, read.voxels) == (hu_volume().shape, None)


def test_one_child_serves_many_files_and_another_follows_one_that_was_killed(volume: Path) -> None:
    read_geometry(volume)
    first = child()
    read_geometry(volume)
    assert child() == first
    os.kill(first, signal.SIGKILL)
    assert check_case({"image": volume}, VolumeOptions()) == []
    assert child() != first


def test_a_child_that_dies_while_it_is_asked_is_replaced(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_geometry(volume)
    first = child()
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)  # the request meets a closed pipe
    monkeypatch.setattr(itk_process._child._process, "poll", lambda: None)
    assert check_case({"image": volume}, VolumeOptions()) == []
    assert child() != first


def test_a_header_that_ends_itk_is_an_error_of_its_file(volume: Path) -> None:
    content = volume.read_bytes()
    hostile = volume.with_name("hostile.mha")
    hostile.write_bytes(content.replace(b"NDims = 3", b"NDims = 1e9"))
    with pytest.raises(ItkError, match="ITK ended with status -"):
        read_with_itk(hostile, 0)  # without the check of the header
    assert check_case({"image": volume}, VolumeOptions()) == []


def test_a_file_that_itk_never_finishes_is_given_up(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "voxels.raw")
    header = volume.read_bytes().partition(b"ElementDataFile")[0]
    (tmp_path / "a.mhd").write_bytes(header + b"ElementDataFile = voxels.raw\n")
    read_geometry(volume)
    monkeypatch.setattr(itk_process, "_START_S", 0.5)
    with pytest.raises(ItkError, match="ITK took more than 0 s"):
        read_with_itk(tmp_path / "a.mhd", 0)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is Linux's")
def test_a_file_that_fills_the_memory_is_an_error_of_its_file(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(itk_process, "_MEMORY", 2**26)
    large = volume.with_name("large.mha")
    sitk.WriteImage(sitk.Image([1000, 1000, 100], sitk.sitkUInt8), str(large), useCompression=True)
    with pytest.raises(ItkError):
        read_with_itk(large, 0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is Linux's")
def test_a_damaged_group_length_of_dicom_costs_no_memory(volume: Path, tmp_path: Path) -> None:
    write_ct(tmp_path / "scan")
    slice_file = tmp_path / "scan" / "1.dcm"
    content = slice_file.read_bytes()
    assert content[128:136] == b"DICM\2\0\0\0"
    slice_file.write_bytes(content[:132] + b"\0" + content[133:])  # GDCM then takes other bytes for lengths
    check_case({"image": tmp_path / "scan"}, VolumeOptions())
    peak = Path(f"/proc/{child()}/status").read_text().partition("VmHWM:")[2].split()
    assert peak[1] == "kB" and int(peak[0]) < 2**20


def test_a_forked_process_starts_a_child_of_its_own(volume: Path) -> None:
    read_geometry(volume)
    first = child()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            same = read_geometry(volume).size == hu_volume().shape and child() != first
            itk_process._child.stop()
            os.write(writing, b"1" if same else b"0")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reading, 1) == b"1"
    assert read_geometry(volume).size == hu_volume().shape
    assert child() == first
