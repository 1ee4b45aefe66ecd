"""A transform that counts its calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai.transforms import Transform


class Count(Transform):
    """Count how often cases are decoded."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        self.calls += 1
        return data
