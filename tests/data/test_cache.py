"""Decoded cases are kept exactly, are never stale, never half written, and mended when the disk damages them."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import pickle
import shutil
import threading
import tracemalloc
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
import psutil
import pytest
from monai.transforms import Compose, Flipd, Lambdad

from i2net_bundle.checks import CTOptions
from i2net_bundle.data import load_cases
from i2net_bundle.data.cache import CachedCase, CaseCache, DecodedCase
from i2net_bundle.labels import class_names
from i2net_bundle.transforms import ct_reading, histology_reading
from tests.data.counting import Count

KEYS = ("image", "label")
SHAPE = (5, 6, 4)  # right, anterior, superior
ORGANS = tuple(class_names("synapse"))
REAL_SAVE = np.save

Start = Callable[[list[dict[str, str]], Path, list[Path]], None]


def write_case(
    folder: Path, image: np.ndarray | None = None, label: np.ndarray | None = None, seed: int = 0
) -> dict[str, str]:
    """A CT of 5×6×4 voxels; int16 HU and uint8 labels unless given."""
    rng = np.random.default_rng(seed)
    image = rng.integers(-1024, 300, SHAPE).astype(np.int16) if image is None else image
    label = rng.integers(0, 9, SHAPE).astype(np.uint8) if label is None else label
    folder.mkdir(exist_ok=True)
    case = {key: str(folder / f"{key}.nii.gz") for key in KEYS}
    for key, array in zip(KEYS, (image, label), strict=True):
        nib.save(nib.Nifti1Image(array, np.eye(4)), case[key])
    return case


def slices_first(ras: np.ndarray) -> np.ndarray:
    """(R, A, S) to (S, 1, P, L), by the obvious indexing."""
    return np.stack([ras[::-1, ::-1, s].T[None] for s in range(ras.shape[2])])


def expected(case: Mapping[str, str]) -> dict[str, np.ndarray]:
    """What the case's files hold, (S, 1, P, L)."""
    return {key: slices_first(np.asarray(nib.load(case[key]).dataobj)) for key in KEYS}


def stacked(read: CachedCase | DecodedCase) -> dict[str, np.ndarray]:
    """All slices of a case that was read, (D, C, H, W)."""
    slices = [read[index] for index in range(len(read))]
    return {key: np.stack([item[key] for item in slices]) for key in KEYS}


def assert_same(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> None:
    """Equal values and types."""
    for key in KEYS:
        assert found[key].dtype == wanted[key].dtype, key
        np.testing.assert_array_equal(found[key], wanted[key], key)


def message_of(error: BaseException) -> str:
    """What the first error of the chain says, which a command line shows last (see `i2net_bundle.errors`)."""
    return str(error) if error.__cause__ is None else message_of(error.__cause__)


def counting(cache_dir: Path | None, options: CTOptions | None = None) -> tuple[CaseCache, Count]:
    count = Count()
    return CaseCache(Compose([count, *ct_reading(KEYS, options).transforms]), cache_dir), count


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_a_case_is_its_slices_with_labels_uint8_and_hu_int16(tmp_path: Path, on_disk: bool) -> None:
    case = write_case(tmp_path)
    read = CaseCache(ct_reading(KEYS), tmp_path / "cache" if on_disk else None).read(case)
    assert len(read) == SHAPE[2]
    assert read[0].keys() == set(KEYS)
    found = stacked(read)
    assert (found["image"].dtype, found["label"].dtype) == (np.int16, np.uint8)
    assert_same(found, expected(case))


@pytest.mark.parametrize(
    ("kind", "reading"), [("ct_dir", ct_reading), ("gland_dir", histology_reading)], ids=["ct", "glands"]
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
    read = CaseCache(ct_reading(KEYS), tmp_path / "cache" if on_disk else None).read(case)
    for key in KEYS:
        read[1][key].fill(0)
    assert_same(stacked(read), expected(case))


def test_hu_with_fractions_are_kept_exactly(tmp_path: Path) -> None:
    image = (np.arange(np.prod(SHAPE)).reshape(SHAPE) * 2.25 - 180).astype(np.float32)
    found = stacked(CaseCache(ct_reading(KEYS)).read(write_case(tmp_path, image)))
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
    case = CaseCache(ct_reading(KEYS), tmp_path / "cache").read(write_case(tmp_path, image, label))
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
    """What a file held before, or what another reading made of it, is never served."""

    @pytest.mark.parametrize("changed", KEYS)
    def test_new_content_of_a_file_is_served_although_name_and_time_stay(self, tmp_path: Path, changed: str) -> None:
        cache = CaseCache(ct_reading(KEYS), tmp_path / "cache")
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
        flipping = Compose([*ct_reading(KEYS).transforms, Flipd(KEYS, 0)])
        plain, flipped = (
            stacked(CaseCache(steps, tmp_path / "cache").read(case)) for steps in (ct_reading(KEYS), flipping)
        )
        np.testing.assert_array_equal(flipped["image"], plain["image"][:, :, ::-1])

    @pytest.mark.parametrize(
        "changed",
        [
            {"hu_offset": -1024.0},
            {"class_names": (*ORGANS[:-1], "another organ")},
            {"class_names": None},
            {"fill_nonfinite": -1024.0},
            {"header": "sform"},
        ],
        ids=["offset", "another label table", "no label table", "filling", "header"],
    )
    def test_another_option_of_the_reading_gives_a_new_entry(self, tmp_path: Path, changed: dict[str, Any]) -> None:
        case, usual = write_case(tmp_path), CTOptions(class_names=ORGANS, any_intensities=True)
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
    cache = CaseCache(Compose([MeetAndCount(), *ct_reading(KEYS).transforms]), cache_dir)
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
    """Entries are whole or absent."""

    def test_while_a_file_is_being_written_it_is_not_in_sight_and_checksums_come_last(
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
        CaseCache(ct_reading(KEYS), cache_dir).read(case)
        assert seen == [[], ["image"], ["image", "label"]]
        assert sorted(path.name.split(".")[1] for path in cache_dir.iterdir()) == ["crc32", "image", "label"]

    @pytest.mark.parametrize("interrupted", [0, 1, 2], ids=["image", "label", "checksums"])
    def test_an_interrupted_write_leaves_nothing_behind_that_a_later_run_trips_over(
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
                CaseCache(ct_reading(KEYS), cache_dir).read(case)
        assert len(list(cache_dir.iterdir())) == interrupted  # what was whole before stays, nothing else
        assert_same(stacked(CaseCache(ct_reading(KEYS), cache_dir).read(case)), expected(case))
        assert not warnings_in(caplog)  # nothing was damaged

    @pytest.mark.parametrize(
        "start",
        [
            pytest.param(threads, id="threads"),
            pytest.param(processes, id="processes", marks=pytest.mark.slow),  # each imports everything anew
        ],
    )
    def test_two_that_build_one_cache_at_once_both_read_it_right(self, tmp_path: Path, start: Start) -> None:
        cases = [write_case(tmp_path / f"case{seed}", seed=seed) for seed in range(4)]
        cache_dir, results = tmp_path / "cache", [tmp_path / f"read_by_{rank}.npz" for rank in range(2)]
        start(cases, cache_dir, results)
        for path in results:
            with np.load(path) as arrays:
                for index, case in enumerate(cases):
                    assert_same({key: arrays[f"{index}.{key}"] for key in KEYS}, expected(case))
        assert len(list(cache_dir.iterdir())) == 3 * len(cases)  # no temporary file is left
        alone = MeetAndCount()
        again = CaseCache(Compose([alone, *ct_reading(KEYS).transforms]), cache_dir)
        for case in cases:
            again.read(case)
        assert alone.calls == 0


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record for record in caplog.records if record.name == "i2net.cache"]
    return [record.getMessage() for record in found if record.levelno == logging.WARNING]


def file_of(cache_dir: Path, kind: str) -> Path:
    """The cache's only file of a kind: image, label or crc32."""
    (path,) = cache_dir.glob(f"*.{kind}.npy")
    return path


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    """As a disk that lost its power may leave a file: its length is right."""
    path.write_bytes(bytes(path.stat().st_size))


def one_bit_flipped_in_slice_2(path: Path) -> None:
    array = np.load(path)
    array[2].reshape(-1).view(np.uint8)[5] ^= 16
    REAL_SAVE(path, array)


def slices_swapped(path: Path) -> None:
    REAL_SAVE(path, np.load(path)[::-1])


def another_depth(path: Path) -> None:
    REAL_SAVE(path, np.load(path)[:-1])


def removed(path: Path) -> None:
    path.unlink()


def header_flipped(old: bytes, new: bytes) -> Callable[[Path], None]:
    """Exchange bytes of the .npy header."""

    def damage(path: Path) -> None:
        contents = path.read_bytes()
        assert old in contents
        path.write_bytes(contents.replace(old, new, 1))

    return damage


CONTENT_DAMAGES = {
    "truncated": truncated,
    "emptied": emptied,
    "zeroed": zeroed,
    "one bit of one slice": one_bit_flipped_in_slice_2,
    "slices in another order": slices_swapped,
}
HEADER_DAMAGES = {
    "unreadable header": header_flipped(b"{", b"["),
    "other shape in header": header_flipped(b"(4, 1, 6, 5)", b"(4, 1, 5, 6)"),
    "another depth": another_depth,
}


class TestDamage:
    """A damaged entry is decoded again with a warning, and what is served is right."""

    @pytest.mark.parametrize(
        "damage",
        [pytest.param(function, id=name) for name, function in (CONTENT_DAMAGES | HEADER_DAMAGES).items()],
    )
    @pytest.mark.parametrize("kind", KEYS)
    def test_to_an_array_is_mended_by_the_next_run(
        self, tmp_path: Path, kind: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        case, cache_dir = write_case(tmp_path), tmp_path / "cache"
        counting(cache_dir)[0].read(case)
        damage(file_of(cache_dir, kind))
        (second, decoded), (third, decoded_again) = (counting(cache_dir) for _ in range(2))
        assert_same(stacked(second.read(case)), expected(case))
        (warning,) = warnings_in(caplog)
        assert f"the cached copy of {case['image']} is damaged" in warning
        assert "it is decoded again" in warning
        assert_same(stacked(third.read(case)), expected(case))
        assert (decoded.calls, decoded_again.calls) == (1, 0)
        assert len(list(cache_dir.iterdir())) == 3

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(header_flipped(b"<i2", b">i2"), id="byte order"),
            pytest.param(header_flipped(b"<i2", b"<u2"), id="signed to unsigned"),
        ],
    )
    def test_to_the_type_in_a_header_is_mended_by_the_next_run(
        self, tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        case, cache_dir = write_case(tmp_path), tmp_path / "cache"
        counting(cache_dir)[0].read(case)
        damage(file_of(cache_dir, "image"))
        assert_same(stacked(counting(cache_dir)[0].read(case)), expected(case))
        assert len(warnings_in(caplog)) == 1

    @pytest.mark.parametrize(
        "damage",
        [truncated, emptied, zeroed, one_bit_flipped_in_slice_2, another_depth],
        ids=lambda damage: damage.__name__.replace("_", " "),
    )
    def test_to_the_checksums_is_mended_by_the_next_run(
        self, tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        case, cache_dir = write_case(tmp_path), tmp_path / "cache"
        counting(cache_dir)[0].read(case)
        damage(file_of(cache_dir, "crc32"))
        cache, decoded = counting(cache_dir)
        assert_same(stacked(cache.read(case)), expected(case))
        (warning,) = warnings_in(caplog)
        assert f"the cached copy of {case['image']} is damaged" in warning
        assert decoded.calls == 1

    @pytest.mark.parametrize("kind", [*KEYS, "crc32"])
    def test_by_which_a_file_is_gone_has_the_case_decoded_again(self, tmp_path: Path, kind: str) -> None:
        case, cache_dir = write_case(tmp_path), tmp_path / "cache"
        counting(cache_dir)[0].read(case)
        removed(file_of(cache_dir, kind))
        cache, decoded = counting(cache_dir)
        assert_same(stacked(cache.read(case)), expected(case))
        assert decoded.calls == 1
        assert len(list(cache_dir.iterdir())) == 3

    @pytest.mark.parametrize(
        "damage",
        [pytest.param(function, id=name) for name, function in ({**CONTENT_DAMAGES, "removed": removed}).items()],
    )
    @pytest.mark.parametrize("kind", KEYS)
    def test_between_two_reads_is_noticed_by_the_second(
        self, tmp_path: Path, kind: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        case, cache_dir = write_case(tmp_path), tmp_path / "cache"
        cache, decoded = counting(cache_dir)
        read = cache.read(case)
        assert_same(stacked(read), expected(case))
        damage(file_of(cache_dir, kind))
        assert_same(stacked(read), expected(case))
        (warning,) = warnings_in(caplog)
        assert f"the cached copy of {case['image']} is damaged" in warning
        assert decoded.calls == 2
        assert_same(stacked(counting(cache_dir)[0].read(case)), expected(case))

    def test_to_one_slice_does_not_disturb_the_reading_of_others(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        case, cache_dir = write_case(tmp_path), tmp_path / "cache"
        cache, decoded = counting(cache_dir)
        read = cache.read(case)
        one_bit_flipped_in_slice_2(file_of(cache_dir, "image"))
        for index in (0, 1, 3):
            np.testing.assert_array_equal(read[index]["image"], expected(case)["image"][index])
        assert (decoded.calls, warnings_in(caplog)) == (1, [])


class TestRoom:
    """How much decoded cases take is told before they are decoded, and refused where it does not fit."""

    @pytest.fixture
    def half_a_gb(self, tmp_path: Path) -> list[dict[str, str]]:
        """Two headers without voxels, of 512×512×318: 2 · 318 · 512² · 3 bytes are 0.50 GB."""
        header = nib.Nifti1Header()
        header.set_data_dtype(np.int16)
        header.set_data_shape((512, 512, 318))
        paths = [tmp_path / f"{index}.nii" for index in range(2)]
        for path in paths:
            with path.open("wb") as file:
                header.write_to(file)
        return [{"image": str(path), "label": str(path)} for path in paths]

    @pytest.fixture
    def free(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
        """Pretend that so many GB of memory and of disk are free."""

        def pretend(gb: float) -> None:
            monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=int(gb * 1e9)))
            monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=int(gb * 1e9)))

        return pretend

    @pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
    def test_is_told(
        self,
        half_a_gb: list[dict[str, str]],
        free: Callable[[float], None],
        tmp_path: Path,
        on_disk: bool,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        free(7)
        with caplog.at_level(logging.INFO, logger="i2net.cache"):
            CaseCache(ct_reading(KEYS), tmp_path / "cache" if on_disk else None).require_room(half_a_gb)
        place = f"in {tmp_path / 'cache'}" if on_disk else "in memory"
        assert caplog.messages == [f"2 decoded cases take about 0.50 GB {place} (7.0 GB there)"]

    @pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
    def test_beyond_the_limit_is_refused(
        self, half_a_gb: list[dict[str, str]], free: Callable[[float], None], tmp_path: Path, on_disk: bool
    ) -> None:
        free(7)
        cache_dir = tmp_path / "cache" if on_disk else None
        with pytest.raises(OSError, match=r"need 0\.50 GB in .*, and cache_limit_gb is 0\.49\. Raise it, or train on"):
            CaseCache(ct_reading(KEYS), cache_dir, 0.49).require_room(half_a_gb)
        CaseCache(ct_reading(KEYS), cache_dir, 0.51).require_room(half_a_gb)

    @pytest.mark.parametrize(
        ("on_disk", "message"),
        [
            (False, r"need 0\.50 GB in memory, and only 0\.49 GB are there\. Set cache_dir, so that they lie on disk"),
            (True, r"need 0\.50 GB in .*cache, and only 0\.49 GB are there\. Name a cache_dir on a larger disk"),
        ],
        ids=["memory", "disk"],
    )
    @pytest.mark.parametrize("limit_gb", [None, 100.0], ids=["no limit", "a generous limit"])
    def test_that_is_not_there_is_refused(
        self,
        half_a_gb: list[dict[str, str]],
        free: Callable[[float], None],
        tmp_path: Path,
        on_disk: bool,
        message: str,
        limit_gb: float | None,
    ) -> None:
        cache = CaseCache(ct_reading(KEYS), tmp_path / "cache" if on_disk else None, limit_gb)
        free(0.49)
        with pytest.raises(OSError, match=message):
            cache.require_room(half_a_gb)
        free(0.51)
        cache.require_room(half_a_gb)

    def test_is_there_when_the_cache_is_built_already(self, free: Callable[[float], None], tmp_path: Path) -> None:
        case, cache = write_case(tmp_path), CaseCache(ct_reading(KEYS), tmp_path / "cache")
        free(0)
        with pytest.raises(OSError, match="Name a cache_dir on a larger disk"):
            cache.require_room([case])
        cache.read(case)
        cache.require_room([case])

    @pytest.mark.parametrize(
        ("kind", "reading"), [("ct_dir", ct_reading), ("gland_dir", histology_reading)], ids=["ct", "glands"]
    )
    def test_is_what_the_arrays_take(self, kind: str, reading: Any, request: pytest.FixtureRequest) -> None:
        cases = load_cases(request.getfixturevalue(kind), "training")
        taken = sum(array.nbytes for case in cases for array in stacked(CaseCache(reading(KEYS)).read(case)).values())
        CaseCache(reading(KEYS), limit_gb=(taken + 0.5) / 1e9).require_room(cases)
        with pytest.raises(OSError, match="cache_limit_gb"):
            CaseCache(reading(KEYS), limit_gb=(taken - 0.5) / 1e9).require_room(cases)

    @pytest.mark.parametrize(
        ("image_class", "shape", "options"),
        [
            (nib.Nifti2Image, SHAPE, CTOptions()),
            (nib.Nifti1Image, (*SHAPE, 1), CTOptions()),
            (nib.Nifti1Image, (*SHAPE, 3), CTOptions(volume=1)),
        ],
        ids=["NIfTI-2", "one volume in 4D", "one of three volumes"],
    )
    def test_is_that_of_the_volume_which_is_read(
        self, tmp_path: Path, image_class: type, shape: tuple[int, ...], options: CTOptions
    ) -> None:
        case = write_case(tmp_path)
        image = np.random.default_rng(0).integers(-1024, 300, shape).astype(np.int16)
        nib.save(image_class(image, np.eye(4)), case["image"])
        read = stacked(CaseCache(ct_reading(KEYS, options)).read(case))
        taken = sum(array.nbytes for array in read.values())
        assert taken == 3 * np.prod(SHAPE)
        CaseCache(ct_reading(KEYS, options), limit_gb=(taken + 0.5) / 1e9).require_room([case])
        with pytest.raises(OSError, match="cache_limit_gb"):
            CaseCache(ct_reading(KEYS, options), limit_gb=(taken - 0.5) / 1e9).require_room([case])


class TestRefusals:
    """Files that cannot be used are named."""

    @pytest.mark.parametrize(
        ("wrong", "found"),
        [
            (0.5, "holds labels that are not whole numbers (0.5, ...)"),
            (-1.0, "holds labels from -1 to 0; the classes are 0 to 255"),
            (256.0, "holds labels from 0 to 256; the classes are 0 to 255"),
            (np.nan, "holds labels that are not whole numbers (nan, ...)"),
        ],
        ids=["fraction", "negative", "over 255", "nan"],
    )
    def test_labels_that_are_no_small_whole_numbers_are_refused(self, tmp_path: Path, wrong: float, found: str) -> None:
        label = np.zeros(SHAPE, np.float32)
        label[1, 2, 3] = wrong
        case = write_case(tmp_path, label=label)
        with pytest.raises((ValueError, RuntimeError)) as caught:
            CaseCache(ct_reading(KEYS)).read(case)
        assert f"{case['label']}: {found}" in message_of(caught.value)

    @pytest.mark.parametrize("added", [0.5, -10.0, 256.0, np.nan], ids=["fraction", "negative", "over 255", "nan"])
    def test_labels_that_further_steps_of_the_reading_spoil_are_refused(self, tmp_path: Path, added: float) -> None:
        reading = Compose([*ct_reading(KEYS).transforms, Lambdad("label", lambda label: label + added)])
        with pytest.raises(ValueError, match=r"label\.nii\.gz: labels must be whole numbers from 0 to 255, found"):
            CaseCache(reading).read(write_case(tmp_path))

    @pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
    @pytest.mark.parametrize("missing", KEYS)
    def test_a_missing_file_is_named(self, tmp_path: Path, missing: str, on_disk: bool) -> None:
        case = write_case(tmp_path)
        Path(case[missing]).unlink()
        with pytest.raises((FileNotFoundError, RuntimeError)) as caught:
            CaseCache(ct_reading(KEYS), tmp_path / "cache" if on_disk else None).read(case)
        assert case[missing] in message_of(caught.value)

    def test_a_case_without_a_label_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"image\.nii\.gz has no label in dataset\.json; training needs one"):
            CaseCache(ct_reading(KEYS)).read({"image": write_case(tmp_path)["image"]})

    def test_a_label_on_another_grid_is_refused_and_both_files_are_named(self, tmp_path: Path) -> None:
        case = write_case(tmp_path, label=np.zeros((5, 6, 3), np.uint8))
        with pytest.raises((ValueError, RuntimeError)) as caught:
            CaseCache(ct_reading(KEYS)).read(case)
        found = f"{case['label']}: has shape (5, 6, 3), its image {case['image']} (5, 6, 4)"
        assert found in message_of(caught.value)

    @pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
    def test_a_truncated_file_is_named(self, tmp_path: Path, on_disk: bool) -> None:
        case = write_case(tmp_path)
        whole = Path(case["image"]).read_bytes()
        Path(case["image"]).write_bytes(whole[: len(whole) // 2])
        with pytest.raises((OSError, RuntimeError, ValueError)) as caught:
            CaseCache(ct_reading(KEYS), tmp_path / "cache" if on_disk else None).read(case)
        assert case["image"] in message_of(caught.value)
