"""Cached cases are exact, never stale and never incomplete."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import threading
import tracemalloc
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose, Flipd, Lambdad

from i2net_bundle.data import load_cases
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.labels import class_names
from i2net_bundle.training.cache import CaseCache
from i2net_bundle.transforms import histology_reading, volume_reading
from tests.causes import message_of
from tests.training.counting import Count
from tests.training.small_cases import (
    KEYS,
    SHAPE,
    assert_same,
    counting,
    expected,
    slices_first,
    stacked,
    warnings_in,
    write_case,
)

ORGANS = tuple(class_names("synapse"))
REAL_SAVE = np.save

Start = Callable[[list[dict[str, str]], Path, list[Path]], None]


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_slices_contain_labels_as_uint8_and_hu_as_int16(tmp_path: Path, on_disk: bool) -> None:
    case = write_case(tmp_path)
    read = CaseCache(volume_reading(KEYS), tmp_path / "cache" if on_disk else None).read(case)
    assert len(read) == SHAPE[2]
    assert read[0].keys() == set(KEYS)
    found = stacked(read)
    assert (found["image"].dtype, found["label"].dtype) == (np.int16, np.uint8)
    assert_same(found, expected(case))


@pytest.mark.parametrize(
    ("kind", "reading"), [("ct_dir", volume_reading), ("gland_dir", histology_reading)], ids=["ct", "glands"]
)
def test_slices_on_disk_equal_those_in_memory(
    kind: str, reading: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for case in load_cases(request.getfixturevalue(kind), "training"):
        kept, cached, again = (CaseCache(reading(KEYS), folder).read(case) for folder in (None, tmp_path, tmp_path))
        assert_same(stacked(cached), stacked(kept))
        assert_same(stacked(again), stacked(kept))


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_a_slice_can_be_changed_in_place_without_harm(tmp_path: Path, on_disk: bool) -> None:
    case = write_case(tmp_path)
    read = CaseCache(volume_reading(KEYS), tmp_path / "cache" if on_disk else None).read(case)
    for key in KEYS:
        read[1][key].fill(0)
    assert_same(stacked(read), expected(case))


def test_hu_with_fractions_are_kept_exactly(tmp_path: Path) -> None:
    image = (np.arange(np.prod(SHAPE)).reshape(SHAPE) * 2.25 - 180).astype(np.float32)
    found = stacked(CaseCache(volume_reading(KEYS)).read(write_case(tmp_path, image)))
    assert found["image"].dtype == np.float32
    np.testing.assert_array_equal(found["image"], slices_first(image))


def test_a_case_on_disk_is_decoded_once_even_by_another_cache(tmp_path: Path) -> None:
    case = write_case(tmp_path)
    (first, decoded), (second, decoded_again) = (counting(tmp_path / "cache") for _ in range(2))
    for cache in (first, first, second):
        cache.read(case)
    assert (decoded.calls, decoded_again.calls) == (1, 0)


def test_the_same_content_under_another_name_is_decoded_once(tmp_path: Path) -> None:
    cache, decoded = counting(tmp_path / "cache")
    cache.read(write_case(tmp_path))
    cache.read(write_case(tmp_path / "copy"))
    assert decoded.calls == 1


def test_slices_are_read_without_keeping_the_volume_in_memory(tmp_path: Path) -> None:
    shape = (96, 96, 40)
    rng = np.random.default_rng(0)
    image, label = rng.integers(-1024, 300, shape).astype(np.int16), rng.integers(0, 9, shape).astype(np.uint8)
    case = CaseCache(volume_reading(KEYS), tmp_path / "cache").read(write_case(tmp_path, image, label))
    slice_bytes = 96 * 96 * 3
    tracemalloc.start()
    try:
        for index in range(len(case)):
            case[index]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert slice_bytes < peak < 4 * slice_bytes
    assert len(pickle.dumps(case)) < slice_bytes  # what a data loader's process is sent


class TestStaleness:
    """Earlier content of a file, or that of other reading steps, is never served."""

    @pytest.mark.parametrize("changed", KEYS)
    def test_new_content_of_a_file_is_served_although_name_and_time_stay(self, tmp_path: Path, changed: str) -> None:
        cache = CaseCache(volume_reading(KEYS), tmp_path / "cache")
        case = write_case(tmp_path)
        before, stat = stacked(cache.read(case)), os.stat(case[changed])
        contents = np.asarray(nib.load(case[changed]).dataobj).copy()
        contents[0, 0, 0] = 7 if contents[0, 0, 0] != 7 else 6
        nib.save(nib.Nifti1Image(contents, np.eye(4)), case[changed])
        os.utime(case[changed], ns=(stat.st_atime_ns, stat.st_mtime_ns))
        after = stacked(cache.read(case))
        np.testing.assert_array_equal(after[changed], slices_first(contents))
        assert (before[changed] != after[changed]).sum() == 1

    def test_reading_with_further_steps_does_not_get_the_old_arrays(self, tmp_path: Path) -> None:
        case = write_case(tmp_path)
        flipping = Compose([*volume_reading(KEYS).transforms, Flipd(KEYS, 0)])
        plain, flipped = (
            stacked(CaseCache(steps, tmp_path / "cache").read(case)) for steps in (volume_reading(KEYS), flipping)
        )
        np.testing.assert_array_equal(flipped["image"], plain["image"][:, :, ::-1])

    @pytest.mark.parametrize(
        "changed",
        [
            {"hu_offset": -1024.0},
            {"classes": (*ORGANS[:-1], "another organ")},
            {"classes": None},
            {"fill_nonfinite": -1024.0},
            {"header": "sform"},
        ],
        ids=["offset", "another label table", "no label table", "filling", "header"],
    )
    def test_another_option_of_the_reading_gives_a_new_entry(self, tmp_path: Path, changed: dict[str, Any]) -> None:
        case, usual = write_case(tmp_path), VolumeOptions(classes=ORGANS, any_intensities=True)
        other = dataclasses.replace(usual, **changed)
        calls = []
        for options in (usual, other, usual, other):
            cache, count = counting(tmp_path / "cache", options)
            wanted = expected(case)
            wanted["image"] += np.int16(options.hu_offset)
            assert_same(stacked(cache.read(case)), wanted)
            calls.append(count.calls)
        assert calls == [1, 1, 0, 0]


class MeetAndCount(Count):
    """Wait until the other decodes the same case."""

    barrier: Any = None  # of the class: an entry is named by the settings of each transform

    def __call__(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        self.barrier.wait()
        return super().__call__(data)


def build(cases: list[dict[str, str]], cache_dir: Path, barrier: Any, results: Path) -> None:
    """Decode and write every case in step with the other, then save all that is read back."""
    MeetAndCount.barrier = barrier
    cache = CaseCache(Compose([MeetAndCount(), *volume_reading(KEYS).transforms]), cache_dir)
    read = []
    for case in cases:
        read.append(cache.read(case))
        barrier.wait()  # the next case is begun when both have this one
    np.savez(results, **{f"{i}.{key}": array for i, case in enumerate(read) for key, array in stacked(case).items()})


def threads(cases: list[dict[str, str]], cache_dir: Path, results: list[Path]) -> None:
    """Build by two threads, which share a process id."""
    barrier = threading.Barrier(2, timeout=300)
    with ThreadPoolExecutor(2) as pool:
        for building in [pool.submit(build, cases, cache_dir, barrier, path) for path in results]:
            building.result()


def processes(cases: list[dict[str, str]], cache_dir: Path, results: list[Path]) -> None:
    """Build by two processes."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2, timeout=300)
    started = [context.Process(target=build, args=(cases, cache_dir, barrier, path)) for path in results]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0, 0]


class TestWriting:
    """Entries are complete or absent."""

    def test_partly_written_files_are_hidden_and_checksums_come_last(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        case, cache_dir = write_case(tmp_path), tmp_path / "cache"
        seen = []

        def slow_save(file: BinaryIO, array: np.ndarray) -> None:
            file.write(b"")
            file.flush()
            seen.append(sorted(path.name.split(".")[1] for path in cache_dir.glob("[!.]*.npy")))
            REAL_SAVE(file, array)

        monkeypatch.setattr(np, "save", slow_save)
        CaseCache(volume_reading(KEYS), cache_dir).read(case)
        assert seen == [[], ["image"], ["image", "label"]]
        assert sorted(path.name.split(".")[1] for path in cache_dir.iterdir()) == ["crc32", "image", "label"]

    @pytest.mark.parametrize("interrupted", [0, 1, 2], ids=["image", "label", "checksums"])
    def test_a_later_run_ignores_what_an_interrupted_write_leaves(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        case, cache_dir = write_case(tmp_path), tmp_path / "cache"
        count = iter(range(3))

        def half_save(file: BinaryIO, array: np.ndarray) -> None:
            if next(count) < interrupted:
                return REAL_SAVE(file, array)
            file.write(b"\x93NUMPY half a file")
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(np, "save", half_save)
            with pytest.raises(KeyboardInterrupt):
                CaseCache(volume_reading(KEYS), cache_dir).read(case)
        assert len(list(cache_dir.iterdir())) == interrupted  # what was whole before stays, nothing else
        assert_same(stacked(CaseCache(volume_reading(KEYS), cache_dir).read(case)), expected(case))
        assert not warnings_in(caplog)  # nothing was damaged

    @pytest.mark.parametrize(
        "start",
        [
            pytest.param(threads, id="threads"),
            pytest.param(processes, id="processes", marks=pytest.mark.slow),  # each imports everything again
        ],
    )
    def test_two_writers_of_one_cache_both_read_it_correctly(self, tmp_path: Path, start: Start) -> None:
        cases = [write_case(tmp_path / f"case{seed}", seed=seed) for seed in range(4)]
        cache_dir, results = tmp_path / "cache", [tmp_path / f"read_by_{rank}.npz" for rank in range(2)]
        start(cases, cache_dir, results)
        for path in results:
            with np.load(path) as arrays:
                for index, case in enumerate(cases):
                    assert_same({key: arrays[f"{index}.{key}"] for key in KEYS}, expected(case))
        assert len(list(cache_dir.iterdir())) == 3 * len(cases)  # no temporary file is left
        alone = MeetAndCount()
        again = CaseCache(Compose([alone, *volume_reading(KEYS).transforms]), cache_dir)
        for case in cases:
            again.read(case)
        assert alone.calls == 0


class TestRefusals:
    """Errors name the unusable file."""

    @pytest.mark.parametrize(
        ("wrong", "found"),
        [
            (0.5, "contains labels that are not whole numbers (0.5, ...)"),
            (-1.0, "contains -1, which is no class; the classes are 0 to 255"),
            (256.0, "contains 256, which is no class; the classes are 0 to 255"),
            (np.nan, "contains labels that are not whole numbers (nan, ...)"),
        ],
        ids=["fraction", "negative", "over 255", "nan"],
    )
    def test_labels_other_than_small_whole_numbers_are_refused(self, tmp_path: Path, wrong: float, found: str) -> None:
        label = np.zeros(SHAPE, np.float32)
        label[1, 2, 3] = wrong
        case = write_case(tmp_path, label=label)
        with pytest.raises((ValueError, RuntimeError)) as caught:
            CaseCache(volume_reading(KEYS)).read(case)
        assert f"{case['label']}: {found}" in message_of(caught.value)

    @pytest.mark.parametrize("added", [0.5, -10.0, 256.0, np.nan], ids=["fraction", "negative", "over 255", "nan"])
    def test_labels_made_fractional_by_reading_steps_are_refused(self, tmp_path: Path, added: float) -> None:
        reading = Compose([*volume_reading(KEYS).transforms, Lambdad("label", lambda label: label + added)])
        with pytest.raises(ValueError, match=r"label\.nii\.gz: labels must be whole numbers from 0 to 255, found"):
            CaseCache(reading).read(write_case(tmp_path))

    @pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
    @pytest.mark.parametrize("missing", KEYS)
    def test_a_missing_file_is_named(self, tmp_path: Path, missing: str, on_disk: bool) -> None:
        case = write_case(tmp_path)
        Path(case[missing]).unlink()
        with pytest.raises((FileNotFoundError, RuntimeError, DataError)) as caught:
            CaseCache(volume_reading(KEYS), tmp_path / "cache" if on_disk else None).read(case)
        assert case[missing] in message_of(caught.value)

    def test_a_case_without_a_label_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"image\.nii\.gz has no label in dataset\.json; training needs one"):
            CaseCache(volume_reading(KEYS)).read({"image": write_case(tmp_path)["image"]})

    def test_a_label_on_another_grid_is_refused_and_both_files_are_named(self, tmp_path: Path) -> None:
        case = write_case(tmp_path, label=np.zeros((5, 6, 3), np.uint8))
        with pytest.raises((ValueError, RuntimeError)) as caught:
            CaseCache(volume_reading(KEYS)).read(case)
        found = f"{case['label']}: has shape (5, 6, 3), its image {case['image']} (5, 6, 4)"
        assert found in message_of(caught.value)

    @pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
    def test_a_truncated_file_is_named(self, tmp_path: Path, on_disk: bool) -> None:
        case = write_case(tmp_path)
        whole = Path(case["image"]).read_bytes()
        Path(case["image"]).write_bytes(whole[: len(whole) // 2])
        with pytest.raises((OSError, RuntimeError, ValueError)) as caught:
            CaseCache(volume_reading(KEYS), tmp_path / "cache" if on_disk else None).read(case)
        assert case["image"] in message_of(caught.value)
