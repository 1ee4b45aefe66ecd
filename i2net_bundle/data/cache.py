"""Decoded cases, kept in memory or on disk under a key made of their content, so that they cannot go stale."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import monai
import numpy as np
from monai.transforms import Compose, Transform

from i2net_bundle.files import written_whole
from i2net_bundle.transforms.preprocessing import IMAGE, LABEL

CACHE_FORMAT = 1
_PLAIN = (str, int, float, bool, type(None))


class CaseCache:
    """Arrays of a case, slices first.

    Args:
        reading: files to arrays (C, H, W, D) or (C, H, W).
        cache_dir: folder for memory-mapped arrays; arrays stay in memory when not given.
    """

    def __init__(self, reading: Compose, cache_dir: str | Path | None = None) -> None:
        self.reading = reading
        self.steps = repr([_describe(transform) for transform in reading.transforms])
        self.cache_dir = Path(cache_dir) if cache_dir is not None else None

    def read(self, case: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Read a case, from the cache where it holds this very content.

        Args:
            case: paths under "image" and "label".

        Returns:
            arrays (D, C, H, W) under the same keys; labels are uint8, images int16 or uint8 where that loses nothing.

        Raises:
            ValueError: the case has no label, or one that is not made of whole numbers; names the file.
        """
        if LABEL not in case:
            raise ValueError(f"{case[IMAGE]} has no label in dataset.json; training needs one for every image.")
        if self.cache_dir is None:
            return self._decode(case)
        key = self._key(case)
        paths = {name: self.cache_dir / f"{key}.{name}.npy" for name in (IMAGE, LABEL)}
        if not all(path.is_file() for path in paths.values()):
            for name, array in self._decode(case).items():
                with written_whole(paths[name]) as temporary, temporary.open("wb") as file:
                    np.save(file, array)
        return {name: np.load(path, mmap_mode="r") for name, path in paths.items()}

    def _key(self, case: Mapping[str, Any]) -> str:
        digest = hashlib.sha256()
        for name in (IMAGE, LABEL):
            with open(case[name], "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        digest.update(repr((CACHE_FORMAT, monai.__version__, self.steps)).encode())
        return digest.hexdigest()[:32]

    def _decode(self, case: Mapping[str, Any]) -> dict[str, np.ndarray]:
        decoded = self.reading({name: case[name] for name in (IMAGE, LABEL)})
        arrays = {name: np.asarray(decoded[name]) for name in (IMAGE, LABEL)}
        for name, array in arrays.items():
            stacked = array[..., None] if array.ndim == 3 else array  # (C, H, W, D)
            stacked = np.ascontiguousarray(np.moveaxis(stacked, -1, 0))
            arrays[name] = _narrow(stacked, (np.uint8,) if name == LABEL else (np.uint8, np.int16), case[name])
        return arrays


def _narrow(array: np.ndarray, dtypes: tuple[type, ...], path: str) -> np.ndarray:
    """The first dtype that holds the values exactly; images fall back to float32."""
    for dtype in dtypes:
        limits = np.iinfo(dtype)
        if limits.min <= array.min() and array.max() <= limits.max:
            narrow: np.ndarray = array.astype(dtype)
            if np.array_equal(narrow, array):
                return narrow
    if np.int16 in dtypes:
        return array.astype(np.float32)
    raise ValueError(f"{path}: labels must be whole numbers from 0 to 255, found {array.min()} to {array.max()}.")


def _describe(transform: Any) -> Any:
    """Class and settings of a transform and of those inside it, as something with a stable ``repr``."""
    settings = {}
    for name, value in sorted(vars(transform).items()):
        if isinstance(value, Transform):
            settings[name] = _describe(value)
        elif all(isinstance(item, _PLAIN) for item in (value if isinstance(value, tuple | list) else [value])):
            settings[name] = repr(value)
    return type(transform).__name__, settings
