"""The size of a cache is known before it is built."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import psutil
import pytest

from i2net_bundle.data import load_cases
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.training.cache import CaseCache
from i2net_bundle.transforms import histology_reading, volume_reading
from tests.training.small_cases import KEYS, SHAPE, stacked, write_case


class TestRoom:
    """The size of decoded cases is reported before decoding, and refused if it does not fit."""

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
    def test_is_reported(
        self,
        half_a_gb: list[dict[str, str]],
        free: Callable[[float], None],
        tmp_path: Path,
        on_disk: bool,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        free(7)
        with caplog.at_level(logging.INFO, logger="i2net.cache"):
            CaseCache(volume_reading(KEYS), tmp_path / "cache" if on_disk else None).require_room(half_a_gb)
        place = f"in {tmp_path / 'cache'}" if on_disk else "in memory"
        assert caplog.messages == [f"2 decoded cases take about 0.50 GB {place} (7.0 GB free)"]

    @pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
    def test_beyond_the_limit_is_refused(
        self, half_a_gb: list[dict[str, str]], free: Callable[[float], None], tmp_path: Path, on_disk: bool
    ) -> None:
        free(7)
        cache_dir = tmp_path / "cache" if on_disk else None
        with pytest.raises(OSError, match=r"need 0\.50 GB in .*, and cache_limit_gb is 0\.49\. Raise it, or train on"):
            CaseCache(volume_reading(KEYS), cache_dir, 0.49).require_room(half_a_gb)
        CaseCache(volume_reading(KEYS), cache_dir, 0.51).require_room(half_a_gb)

    @pytest.mark.parametrize(
        ("on_disk", "message"),
        [
            (False, r"need 0\.50 GB in memory, and only 0\.49 GB are free\. Set cache_dir to keep them on disk"),
            (
                True,
                r"need 0\.50 GB in .*cache, and only 0\.49 GB are free\. Set cache_dir to a folder on a larger disk",
            ),
        ],
        ids=["memory", "disk"],
    )
    @pytest.mark.parametrize("limit_gb", [None, 100.0], ids=["no limit", "a generous limit"])
    def test_beyond_the_free_space_is_refused(
        self,
        half_a_gb: list[dict[str, str]],
        free: Callable[[float], None],
        tmp_path: Path,
        on_disk: bool,
        message: str,
        limit_gb: float | None,
    ) -> None:
        cache = CaseCache(volume_reading(KEYS), tmp_path / "cache" if on_disk else None, limit_gb)
        free(0.49)
        with pytest.raises(OSError, match=message):
            cache.require_room(half_a_gb)
        free(0.51)
        cache.require_room(half_a_gb)

    def test_is_sufficient_when_the_cache_already_exists(self, free: Callable[[float], None], tmp_path: Path) -> None:
        case, cache = write_case(tmp_path), CaseCache(volume_reading(KEYS), tmp_path / "cache")
        free(0)
        with pytest.raises(OSError, match="Set cache_dir to a folder on a larger disk"):
            cache.require_room([case])
        cache.read(case)
        cache.require_room([case])

    @pytest.mark.parametrize(
        ("kind", "reading"), [("ct_dir", volume_reading), ("gland_dir", histology_reading)], ids=["ct", "glands"]
    )
    def test_equals_the_size_of_the_arrays(self, kind: str, reading: Any, request: pytest.FixtureRequest) -> None:
        cases = load_cases(request.getfixturevalue(kind), "training")
        taken = sum(array.nbytes for case in cases for array in stacked(CaseCache(reading(KEYS)).read(case)).values())
        CaseCache(reading(KEYS), limit_gb=(taken + 0.5) / 1e9).require_room(cases)
        with pytest.raises(OSError, match="cache_limit_gb"):
            CaseCache(reading(KEYS), limit_gb=(taken - 0.5) / 1e9).require_room(cases)

    @pytest.mark.parametrize(
        ("image_class", "shape", "options"),
        [
            (nib.Nifti2Image, SHAPE, VolumeOptions()),
            (nib.Nifti1Image, (*SHAPE, 1), VolumeOptions()),
            (nib.Nifti1Image, (*SHAPE, 3), VolumeOptions(volume=1)),
        ],
        ids=["NIfTI-2", "one volume in 4D", "one of three volumes"],
    )
    def test_counts_only_the_volume_that_is_read(
        self, tmp_path: Path, image_class: type, shape: tuple[int, ...], options: VolumeOptions
    ) -> None:
        case = write_case(tmp_path)
        image = np.random.default_rng(0).integers(-1024, 300, shape).astype(np.int16)
        nib.save(image_class(image, np.eye(4)), case["image"])
        read = stacked(CaseCache(volume_reading(KEYS, options)).read(case))
        taken = sum(array.nbytes for array in read.values())
        assert taken == 3 * np.prod(SHAPE)
        CaseCache(volume_reading(KEYS, options), limit_gb=(taken + 0.5) / 1e9).require_room([case])
        with pytest.raises(OSError, match="cache_limit_gb"):
            CaseCache(volume_reading(KEYS, options), limit_gb=(taken - 0.5) / 1e9).require_room([case])
