"""A cache of decoded cases, in memory or on disk. The key is a hash of their content, so an entry never goes stale.

On disk, a case is three ``.npy`` files: the image, the label, and a checksum for each slice. Slices are read one at a
time, so memory use does not grow with the number of cases. If a checksum does not match, the case is decoded again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import monai
import numpy as np
import psutil
from monai.transforms import Compose
from PIL import Image

from i2net_bundle.data.image_files import image_paths
from i2net_bundle.io.formats import is_volume
from i2net_bundle.io.volumes import content_sha256, volume_shape
from i2net_bundle.io.writing import written_whole
from i2net_bundle.transforms.preprocessing import IMAGE, LABEL
from i2net_bundle.workflow.describe import describe

CACHE_FORMAT = 5
_KEYS = (IMAGE, LABEL)

logger = logging.getLogger("i2net.cache")


class CaseCache:
    """Slices of decoded cases.

    Args:
        reading: transforms that read files as arrays (C, H, W, D) or (C, H, W).
        cache_dir: folder for the arrays. Default: keep them in memory.
        limit_gb: maximum size of all decoded cases, in GB. Default: the free space.

    Raises:
        ValueError: ``reading`` contains something that cannot be hashed by its settings, such as a function.
    """

    def __init__(self, reading: Compose, cache_dir: str | Path | None = None, limit_gb: float | None = None) -> None:
        self.reading = reading
        has_ids = any(getattr(step, "instances", False) for step in getattr(reading, "transforms", ()))
        self.types = {LABEL: (np.uint8, np.int32) if has_ids else (np.uint8,), IMAGE: (np.uint8, np.int16)}
        self.steps = "" if cache_dir is None else _name(reading)
        self.cache_dir = Path(cache_dir) if cache_dir is not None else None
        self.limit_gb = limit_gb

    def require_room(self, cases: Sequence[Mapping[str, Any]]) -> None:
        """Check that the decoded cases fit, before any is decoded. A CT voxel takes 2 bytes, a normalised one 4.

        Raises:
            OSError: they do not fit.
        """
        load = getattr(self.reading, "load", None)
        channels = len(getattr(getattr(load, "options", None), "channels", ("",)))
        voxel_bytes = 4 if getattr(self.reading, "normalization", None) is not None else 2
        needed = sum(_estimated_bytes(case, channels * voxel_bytes + 1) for case in cases)
        if self.cache_dir is None:
            place, room = "in memory", psutil.virtual_memory().available
            remedy = "Set cache_dir to keep them on disk"
        else:
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            cached = sum(path.stat().st_size for path in self.cache_dir.glob("*.npy"))
            place, room = f"in {self.cache_dir}", shutil.disk_usage(self.cache_dir).free + cached
            remedy = "Set cache_dir to a folder on a larger disk"
        logger.info(f"{len(cases)} decoded cases take about {needed / 1e9:.2f} GB {place} ({room / 1e9:.1f} GB free)")
        if self.limit_gb is not None and needed > self.limit_gb * 1e9:
            raise OSError(
                f"{len(cases)} decoded cases need {needed / 1e9:.2f} GB {place}, and cache_limit_gb is "
                f"{self.limit_gb:g}. Raise it, or train on fewer cases."
            )
        if needed > room:
            raise OSError(
                f"{len(cases)} decoded cases need {needed / 1e9:.2f} GB {place}, and only "
                f"{room / 1e9:.2f} GB are free. {remedy}."
            )

    def read(self, case: Mapping[str, Any]) -> CachedCase | DecodedCase:
        """Read a case, from the cache if it contains the same content.

        Args:
            case: a path, or one per channel, under "image", and a path under "label".

        Returns:
            its slices. Labels are uint8, or int32 for instance ids above 255. Images are uint8 or int16 if that is
            lossless, else float32.

        Raises:
            ValueError: the case has no label, or its label contains values other than whole numbers.
        """
        if LABEL not in case:
            raise ValueError(
                f"{image_paths(case)[0]} has no label in dataset.json; training needs one for every image."
            )
        if self.cache_dir is None:
            return DecodedCase(self.decode(case))
        return CachedCase(self, case, self.cache_dir / self.key(case))

    def decode(self, case: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Read the files of a case as arrays (D, C, H, W)."""
        decoded = self.reading({name: case[name] for name in _KEYS})
        arrays = {name: np.asarray(decoded[name]) for name in _KEYS}
        for name, array in arrays.items():
            stacked = array[..., None] if array.ndim == 3 else array  # (C, H, W, D)
            stacked = np.ascontiguousarray(np.moveaxis(stacked, -1, 0))
            arrays[name] = _narrow(stacked, self.types[name], str(case[name]))
        return arrays

    def key(self, case: Mapping[str, Any]) -> str:
        """Hash the content of the case's files, every reading step with its settings, and the versions."""
        digest = hashlib.sha256()
        for path in (*image_paths(case), case[LABEL]):
            digest.update(content_sha256(path).encode())
        digest.update(repr((CACHE_FORMAT, monai.__version__, self.steps)).encode())
        return digest.hexdigest()[:32]


class DecodedCase:
    """A case in memory.

    Args:
        arrays: (D, C, H, W) under "image" and "label".
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays = dict(arrays)

    def __len__(self) -> int:
        return len(self.arrays[IMAGE])

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Copy slice ``index`` of image and label, (C, H, W) each."""
        return {name: array[index].copy() for name, array in self.arrays.items()}


class CachedCase:
    """A case on disk. It is decoded first if its files are missing or incomplete.

    Args:
        cache: decodes the case.
        case: the files of the case.
        stem: path of the ``.npy`` files without their suffixes.
    """

    def __init__(self, cache: CaseCache, case: Mapping[str, Any], stem: Path) -> None:
        self.cache, self.case = cache, case
        self.paths = {name: stem.with_name(f"{stem.name}.{name}.npy") for name in _KEYS}
        self.checksum_path = stem.with_name(f"{stem.name}.crc32.npy")
        try:
            self._open()
        except FileNotFoundError:
            self._build()
        except Exception as damage:  # numpy's header parser raises many kinds of error on damaged bytes
            self._rebuild(damage)

    def __len__(self) -> int:
        return len(self.checksums)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Slice ``index`` of image and label, (C, H, W) each."""
        try:
            return self._read(index)
        except (OSError, ValueError) as damage:
            self._rebuild(damage)
            return self._read(index)

    def _read(self, index: int) -> dict[str, np.ndarray]:
        slices = {}
        for column, name in enumerate(_KEYS):
            layout = self.layouts[name]
            start = layout.offset + index * layout.slice_bytes
            values = np.fromfile(
                self.paths[name], layout.dtype, layout.slice_bytes // layout.dtype.itemsize, offset=start
            )
            slices[name] = values.reshape(layout.shape[1:])
            if _checksum(slices[name]) != self.checksums[index, column]:
                raise ValueError(f"slice {index} of {self.paths[name].name} does not match its checksum")
        return slices

    def _open(self) -> None:
        checksums = np.load(self.checksum_path)
        self.layouts = {name: _layout(path) for name, path in self.paths.items()}
        if any(checksums.shape != (layout.shape[0], len(_KEYS)) for layout in self.layouts.values()):
            raise ValueError("its files do not match each other")
        self.checksums = checksums

    def _build(self) -> None:
        arrays = self.cache.decode(self.case)
        checksums = [[_checksum(arrays[name][index]) for name in _KEYS] for index in range(len(arrays[IMAGE]))]
        contents = {
            **{self.paths[name]: arrays[name] for name in _KEYS},
            self.checksum_path: np.array(checksums, np.uint32),
        }
        for path, array in contents.items():  # the checksums last: if they exist, the rest is complete
            with written_whole(path) as temporary, temporary.open("wb") as file:
                np.save(file, array)
        self._open()

    def _rebuild(self, damage: Exception) -> None:
        if self.cache.key(self.case) != self.checksum_path.name.split(".")[0]:
            raise ValueError(
                f"{image_paths(self.case)[0]} or its label has changed since this run read it. Start the run again."
            )
        logger.warning(
            f"{self.checksum_path.parent}: the cached copy of {image_paths(self.case)[0]} is damaged ({damage}); "
            "decoding it again."
        )
        self._build()


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Layout of an ``.npy`` file: shape (D, C, H, W), dtype, offset of the first slice, bytes per slice."""

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    slice_bytes: int


def _layout(path: Path) -> _Layout:
    mapped = np.load(path, mmap_mode="r")  # fails if the file is shorter than its header says
    size = int(np.prod(mapped.shape[1:])) * mapped.dtype.itemsize
    return _Layout(mapped.shape, mapped.dtype, int(mapped.offset), size)


def _name(reading: Compose) -> str:
    """Every reading step with its settings, as text."""
    try:
        return repr([describe(transform) for transform in reading.transforms])
    except TypeError as cause:
        raise ValueError(
            f"These reading transforms cannot be cached on disk: {cause}. Use transforms with plain settings, "
            "or leave cache_dir unset."
        ) from cause


def _checksum(array: np.ndarray) -> int:
    """CRC32 of a slice's values, dtype and shape; the last two detect a damaged header."""
    return zlib.crc32(array.tobytes(), zlib.crc32(f"{array.dtype.str}{array.shape}".encode()))


def _estimated_bytes(case: Mapping[str, Any], voxel_bytes: int) -> int:
    path = image_paths(case)[0]
    try:
        if is_volume(path):
            return voxel_bytes * int(np.prod(volume_shape(path)[:3]))
        with Image.open(path) as image:
            return 4 * image.width * image.height  # three colours and a mask
    except Exception:  # reading the case reports the error
        return 0


def _narrow(array: np.ndarray, dtypes: tuple[type, ...], path: str) -> np.ndarray:
    """Convert to the first dtype that holds the values exactly; images fall back to float32."""
    for dtype in dtypes:
        limits = np.iinfo(dtype)
        if limits.min <= array.min() and array.max() <= limits.max:
            narrow: np.ndarray = array.astype(dtype)
            if np.array_equal(narrow, array):
                return narrow
    if np.int16 in dtypes:
        return array.astype(np.float32)
    raise ValueError(f"{path}: labels must be whole numbers from 0 to 255, found {array.min()} to {array.max()}.")
