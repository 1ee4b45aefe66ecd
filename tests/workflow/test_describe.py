"""Two transforms have equal descriptions exactly if they do the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, Lambdad, NormalizeIntensityd, ScaleIntensityRanged, Spacingd

from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.transforms import volume_reading
from i2net_bundle.workflow.describe import describe


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Spacingd("image", (1, 1, 1)), Spacingd("image", (2, 2, 2))),
        (NormalizeIntensityd("image", np.zeros(3)), NormalizeIntensityd("image", np.ones(3))),
        (ScaleIntensityRanged("image", 0, 1, 0, 1), ScaleIntensityRanged("image", 0, 2, 0, 1)),
        (volume_reading(("image",)), volume_reading(("image",), VolumeOptions(hu_offset=-1024))),
        (volume_reading(("image",)), volume_reading(("image", "label"))),
        ({"a": [1, (2.0, None)]}, {"a": [1, (3.0, None)]}),
    ],
    ids=["tuple", "array", "nested transform", "options", "keys", "nested plain"],
)
def test_settings_that_differ_are_described_differently(one: Any, other: Any) -> None:
    assert describe(one) != describe(other)


def test_the_same_settings_are_described_alike_whatever_was_drawn() -> None:
    one, other = (volume_reading(("image",), VolumeOptions(classes=["a", "b"])) for _ in range(2))
    one.set_random_state(seed=5)
    assert describe(one) == describe(other)


def test_arrays_and_tensors_are_described_by_their_content() -> None:
    assert describe(np.arange(4)) == describe(torch.arange(4)) != describe(np.arange(4, dtype=np.int16))


def test_a_function_cannot_be_described() -> None:
    with pytest.raises(TypeError, match="cannot be described by its settings"):
        describe(Compose([Lambdad("image", lambda image: image)]))
