"""Decoded cases are kept exactly, are never stale and never half written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose, Flipd

from i2net_bundle.data import load_cases
from i2net_bundle.data.cache import CaseCache
from i2net_bundle.transforms import ct_reading, histology_reading
from tests.data.counting import Count

KEYS = ("image", "label")
SHAPE = (5, 6, 4)  # right, anterior, superior


def write_case(folder: Path, image: np.ndarray | None = None, label: np.ndarray | None = None) -> dict[str, str]:
    """A CT of 5×6×4 voxels; int16 HU and uint8 labels unless given."""
    rng = np.random.default_rng(0)
    image = rng.integers(-1024, 3000, SHAPE).astype(np.int16) if image is None else image
    label = rng.integers(0, 9, SHAPE).astype(np.uint8) if label is None else label
    case = {key: str(folder / f"{key}.nii.gz") for key in KEYS}
    for key, array in zip(KEYS, (image, label), strict=True):
        nib.save(nib.Nifti1Image(array, np.eye(4)), case[key])
    return case


def slices_first(ras: np.ndarray) -> np.ndarray:
    """(R, A, S) to (S, 1, P, L), by the obvious indexing."""
    return np.stack([ras[::-1, ::-1, s].T[None] for s in range(ras.shape[2])])


def message_of(error: BaseException) -> str:
    """What the first error of the chain says, which a command line shows last (see `i2net_bundle.errors`)."""
    return str(error) if error.__cause__ is None else message_of(error.__cause__)


def counting(cache_dir: Path | None) -> tuple[CaseCache, Count]:
    count = Count()
    return CaseCache(Compose([count, *ct_reading(KEYS).transforms]), cache_dir), count


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_a_case_is_its_slices_with_labels_uint8_and_hu_int16(tmp_path: Path, on_disk: bool) -> None:
    case = write_case(tmp_path)
    arrays = CaseCache(ct_reading(KEYS), tmp_path / "cache" if on_disk else None).read(case)
    assert arrays.keys() == set(KEYS)
    for key, dtype in zip(KEYS, (np.int16, np.uint8), strict=True):
        assert arrays[key].dtype == dtype
        np.testing.assert_array_equal(arrays[key], slices_first(np.asarray(nib.load(case[key]).dataobj)))


@pytest.mark.parametrize(
    ("kind", "reading"), [("ct_dir", ct_reading), ("gland_dir", histology_reading)], ids=["ct", "glands"]
)
def test_arrays_on_disk_equal_those_in_memory(
    kind: str, reading: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for case in load_cases(request.getfixturevalue(kind), "training"):
        kept, cached, again = (CaseCache(reading(KEYS), folder).read(case) for folder in (None, tmp_path, tmp_path))
        for key in KEYS:
            assert kept[key].dtype == cached[key].dtype == again[key].dtype
            np.testing.assert_array_equal(kept[key], cached[key])
            np.testing.assert_array_equal(kept[key], again[key])


def test_arrays_on_disk_are_memory_mapped_and_cannot_be_written_to(tmp_path: Path) -> None:
    arrays = CaseCache(ct_reading(KEYS), tmp_path / "cache").read(write_case(tmp_path))
    assert all(isinstance(array, np.memmap) for array in arrays.values())
    with pytest.raises(ValueError, match="read-only"):
        arrays["label"][0] = 0


def test_hu_with_fractions_are_kept_exactly(tmp_path: Path) -> None:
    image = (np.arange(np.prod(SHAPE)).reshape(SHAPE) / 4 - 7).astype(np.float32)
    arrays = CaseCache(ct_reading(KEYS)).read(write_case(tmp_path, image))
    assert arrays["image"].dtype == np.float32
    np.testing.assert_array_equal(arrays["image"], slices_first(image))


def test_a_case_on_disk_is_decoded_once_even_by_another_cache(tmp_path: Path) -> None:
    case = write_case(tmp_path)
    (first, decoded), (second, decoded_again) = (counting(tmp_path / "cache") for _ in range(2))
    for cache in (first, first, second):
        cache.read(case)
    assert (decoded.calls, decoded_again.calls) == (1, 0)


def test_the_same_content_under_another_name_is_decoded_once(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    cache, decoded = counting(tmp_path / "cache")
    cache.read(write_case(tmp_path))
    cache.read(write_case(tmp_path / "copy"))
    assert decoded.calls == 1


@pytest.mark.parametrize("changed", KEYS)
def test_new_content_of_a_file_is_served_although_name_and_time_stay(tmp_path: Path, changed: str) -> None:
    cache = CaseCache(ct_reading(KEYS), tmp_path / "cache")
    case = write_case(tmp_path)
    before, stat = cache.read(case), os.stat(case[changed])
    contents = np.asarray(nib.load(case[changed]).dataobj).copy()
    contents[0, 0, 0] = 7 if contents[0, 0, 0] != 7 else 6
    nib.save(nib.Nifti1Image(contents, np.eye(4)), case[changed])
    os.utime(case[changed], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = cache.read(case)
    np.testing.assert_array_equal(after[changed], slices_first(contents))
    assert (before[changed] != after[changed]).sum() == 1


def test_reading_with_further_steps_does_not_get_the_old_arrays(tmp_path: Path) -> None:
    case = write_case(tmp_path)
    flipping = Compose([*ct_reading(KEYS).transforms, Flipd(KEYS, 0)])
    plain, flipped = (CaseCache(steps, tmp_path / "cache").read(case) for steps in (ct_reading(KEYS), flipping))
    np.testing.assert_array_equal(flipped["image"], plain["image"][:, :, ::-1])


def test_while_a_file_is_being_written_no_array_is_in_sight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, cache_dir = write_case(tmp_path), tmp_path / "cache"
    save, seen = np.save, []

    def slow_save(file: BinaryIO, array: np.ndarray) -> None:
        file.write(b"")
        file.flush()
        seen.append(sorted(path.name.split(".")[1] for path in cache_dir.glob("[!.]*.npy")))
        save(file, array)

    monkeypatch.setattr(np, "save", slow_save)
    CaseCache(ct_reading(KEYS), cache_dir).read(case)
    assert seen == [[], ["image"]]


@pytest.mark.parametrize("interrupted", [0, 1], ids=["image", "label"])
def test_an_interrupted_write_leaves_nothing_behind_that_a_later_run_trips_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: int
) -> None:
    case, cache_dir = write_case(tmp_path), tmp_path / "cache"
    save, count = np.save, iter(range(2))

    def half_save(file: BinaryIO, array: np.ndarray) -> None:
        if next(count) < interrupted:
            return save(file, array)
        file.write(b"\x93NUMPY half a file")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", half_save)
        with pytest.raises(KeyboardInterrupt):
            CaseCache(ct_reading(KEYS), cache_dir).read(case)
    assert len(list(cache_dir.iterdir())) == interrupted  # what was whole before stays, nothing else
    arrays = CaseCache(ct_reading(KEYS), cache_dir).read(case)
    for key in KEYS:
        np.testing.assert_array_equal(arrays[key], slices_first(np.asarray(nib.load(case[key]).dataobj)))


@pytest.mark.parametrize("wrong", [0.5, -1.0, 256.0, np.nan], ids=["fraction", "negative", "over 255", "nan"])
def test_labels_that_are_no_small_whole_numbers_are_refused_and_named(tmp_path: Path, wrong: float) -> None:
    label = np.zeros(SHAPE, np.float32)
    label[1, 2, 3] = wrong
    with pytest.raises(ValueError, match=r"label\.nii\.gz: labels must be whole numbers from 0 to 255"):
        CaseCache(ct_reading(KEYS)).read(write_case(tmp_path, label=label))


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
@pytest.mark.parametrize("missing", KEYS)
def test_a_missing_file_is_named(tmp_path: Path, missing: str, on_disk: bool) -> None:
    case = write_case(tmp_path)
    Path(case[missing]).unlink()
    with pytest.raises((FileNotFoundError, RuntimeError)) as caught:
        CaseCache(ct_reading(KEYS), tmp_path / "cache" if on_disk else None).read(case)
    assert case[missing] in message_of(caught.value)


def test_a_label_on_another_grid_is_refused_and_both_files_are_named(tmp_path: Path) -> None:
    case = write_case(tmp_path, label=np.zeros((5, 6, 3), np.uint8))
    with pytest.raises((ValueError, RuntimeError)) as caught:
        CaseCache(ct_reading(KEYS)).read(case)
    assert f"{case['image']} and {case['label']} differ in shape" in message_of(caught.value)


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_a_truncated_file_is_named(tmp_path: Path, on_disk: bool) -> None:
    case = write_case(tmp_path)
    whole = Path(case["image"]).read_bytes()
    Path(case["image"]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises((OSError, RuntimeError, ValueError)) as caught:
        CaseCache(ct_reading(KEYS), tmp_path / "cache" if on_disk else None).read(case)
    assert case["image"] in message_of(caught.value)
