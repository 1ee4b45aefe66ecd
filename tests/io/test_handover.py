"""A file that was decoded for its check is not decoded again for its first use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2net_bundle.checks import CheckedCases
from i2net_bundle.checks.scans import load_volume
from i2net_bundle.io import handover, images, volumes
from i2net_bundle.io.handover import forget_decoded
from i2net_bundle.io.images import open_image
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.transforms import volume_preprocessing
from tests.checks.ct_files import hu_volume, save
from tests.io.dicom.files import write_ct


@pytest.fixture(autouse=True)
def nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No case was checked or decoded before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forget_decoded()
    yield
    forget_decoded()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decoded."""
    names: list[str] = []
    for module, name in ((volumes, "_read"), (images, "_open")):
        monkeypatch.setattr(module, name, _noting(getattr(module, name), names))
    return names


def _noting(read, names):  # type: ignore[no-untyped-def]
    def noting(path, *arguments):  # type: ignore[no-untyped-def]
        names.append(Path(path).name)
        return read(path, *arguments)

    noting.__qualname__ = read.__qualname__
    return noting


def checked(case: dict, options: VolumeOptions | HistologyOptions) -> None:
    assert len(CheckedCases([case], options)) == 1


def test_a_volume_is_decoded_once_for_check_and_use(tmp_path: Path, reads: list[str]) -> None:
    path = save(tmp_path / "ct.nii.gz", hu_volume())
    expected = np.asarray(load_volume(path, VolumeOptions())[0].dataobj)
    reads.clear()
    checked({"image": path}, VolumeOptions())
    used = volume_preprocessing(keys=["image"], options=VolumeOptions()).transforms[0]({"image": path})
    assert reads == ["ct.nii.gz"]
    assert np.array_equal(used["image"][0], expected)


def test_a_dicom_series_is_decoded_once_for_check_and_use(tmp_path: Path, reads: list[str]) -> None:
    folder, options = write_ct(tmp_path / "series"), VolumeOptions(any_intensities=True)
    checked({"image": folder}, options)
    load_volume(folder, options)
    assert reads == ["series"]


def test_an_image_is_decoded_once_for_check_and_use(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(path)
    checked({"image": path}, HistologyOptions())
    assert np.array_equal(np.asarray(open_image(path)), np.asarray(Image.open(path)))
    assert reads == ["a.png"]


def test_a_file_that_changed_after_its_check_is_decoded_again(tmp_path: Path, reads: list[str]) -> None:
    path = save(tmp_path / "ct.nii.gz", hu_volume())
    checked({"image": path}, VolumeOptions())
    save(tmp_path / "ct.nii.gz", hu_volume() + 1)
    image, _ = load_volume(path, VolumeOptions())
    assert reads == ["ct.nii.gz", "ct.nii.gz"]
    assert np.array_equal(np.asarray(image.dataobj), hu_volume() + 1)


def test_other_options_decode_again(tmp_path: Path, reads: list[str]) -> None:
    path = save(tmp_path / "ct.nii.gz", hu_volume())
    checked({"image": path}, VolumeOptions())
    load_volume(path, VolumeOptions(hu_offset=1.0))
    assert len(reads) == 2


def test_nothing_is_kept_beyond_a_share_of_the_memory(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "ct.nii.gz", hu_volume())
    monkeypatch.setattr(handover, "_SHARE", 1e-12)
    checked({"image": path}, VolumeOptions())
    load_volume(path, VolumeOptions())
    assert len(reads) == 2


def test_what_is_read_outside_a_check_is_not_kept(tmp_path: Path, reads: list[str]) -> None:
    path = save(tmp_path / "ct.nii.gz", hu_volume())
    for _ in range(2):
        load_volume(path, VolumeOptions())
    assert len(reads) == 2
