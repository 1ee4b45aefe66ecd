"""Describe transforms as plain data, to record, hash and compare the processing of an image."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from monai.data import ImageReader
from monai.transforms import Transform

_PLAIN = (str, int, float, bool, type(None))


def describe(value: Any) -> Any:
    """Describe a transform or setting completely as plain data.

    Args:
        value: a transform, a dataclass, a plain value, an array, or lists and mappings of these.

    Returns:
        nested lists and dictionaries of plain values, equal for equal settings, without random states.

    Raises:
        TypeError: it contains something that its settings do not describe, such as a function.
    """
    if isinstance(value, _PLAIN):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | torch.Tensor):
        array = np.asarray(value)
        return {"array": hashlib.sha256(array.tobytes()).hexdigest(), "dtype": str(array.dtype), "shape": array.shape}
    if isinstance(value, np.dtype | torch.dtype | type):
        return str(value)
    if dataclasses.is_dataclass(value) or isinstance(value, Transform | ImageReader):
        kind = type(value)
        settings = {name: item for name, item in vars(value).items() if not isinstance(item, np.random.RandomState)}
        return {"class": f"{kind.__module__}.{kind.__qualname__}", **describe(dict(sorted(settings.items())))}
    raise TypeError(f"{type(value).__name__} {value!r} cannot be described by its settings")
