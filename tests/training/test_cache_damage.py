"""Damage to cached files is detected and repaired by decoding the case again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.training.small_cases import KEYS, assert_same, counting, expected, stacked, warnings_in, write_case


def file_of(cache_dir: Path, kind: str) -> Path:
    """The only cached file of a kind: image, label or crc32."""
    (path,) = cache_dir.glob(f"*.{kind}.npy")
    return path


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    """Damage a file as a power failure may: its length stays right."""
    path.write_bytes(bytes(path.stat().st_size))


def one_bit_flipped_in_slice_2(path: Path) -> None:
    array = np.load(path)
    array[2].reshape(-1).view(np.uint8)[5] ^= 16
    np.save(path, array)


def slices_swapped(path: Path) -> None:
    np.save(path, np.load(path)[::-1])


def another_depth(path: Path) -> None:
    np.save(path, np.load(path)[:-1])


def removed(path: Path) -> None:
    path.unlink()


def header_flipped(old: bytes, new: bytes) -> Callable[[Path], None]:
    """Replace bytes of the .npy header."""

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
    """A damaged entry is decoded again with a warning, and the served arrays are right."""

    @pytest.mark.parametrize(
        "damage",
        [pytest.param(function, id=name) for name, function in (CONTENT_DAMAGES | HEADER_DAMAGES).items()],
    )
    @pytest.mark.parametrize("kind", KEYS)
    def test_to_an_array_is_repaired_by_the_next_run(
        self, tmp_path: Path, kind: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        case, cache_dir = write_case(tmp_path), tmp_path / "cache"
        counting(cache_dir)[0].read(case)
        damage(file_of(cache_dir, kind))
        (second, decoded), (third, decoded_again) = (counting(cache_dir) for _ in range(2))
        assert_same(stacked(second.read(case)), expected(case))
        (warning,) = warnings_in(caplog)
        assert f"the cached copy of {case['image']} is damaged" in warning
        assert "decoding it again" in warning
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
    def test_to_the_type_in_a_header_is_repaired_by_the_next_run(
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
    def test_to_the_checksums_is_repaired_by_the_next_run(
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
    def test_through_a_missing_file_is_repaired_by_decoding_the_case_again(self, tmp_path: Path, kind: str) -> None:
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
