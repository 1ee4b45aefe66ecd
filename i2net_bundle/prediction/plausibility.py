"""Compare predicted organs with anatomy, by the same volumes and positions as labels; see `i2net_bundle.checks`.

A network answers every image, also one that is unlike its training data. Results that no body has are reported: they
become warnings of the case, never corrections of the mask.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from i2net_bundle.checks.anatomy import anatomy_findings, measure_organs
from i2net_bundle.io.findings import Finding, warning
from i2net_bundle.labels import LabelClass

MASK_RULE = "mask-"
"""Prefix of the rules whose findings are about the predicted mask."""
_REMEDY = "Look at the picture, and do not use this mask unchecked: the image may be unlike the training data."
_NUMBERING = "numbering"  # another numbering of the classes is no explanation for a prediction


def implausible_findings(
    mask: np.ndarray,
    affine: np.ndarray,
    classes: Sequence[LabelClass],
    path: str | Path,
    has_geometry: bool = True,
) -> list[Finding]:
    """Warn about predicted organs with implausible volumes or positions, and about an empty mask.

    Args:
        mask: class indices (X, Y, Z).
        affine: voxel to RAS mm (4, 4).
        classes: background first; classes without expected volumes and positions are not compared.
        path: image, for the message.
        has_geometry: whether the spacing is known; volumes are only compared if it is.
    """
    if not mask.any():
        names = ", ".join(item.name for item in classes[1:])
        return [warning(f"{MASK_RULE}empty", path, f"nothing was predicted in it; the classes are {names}", _REMEDY)]
    found = anatomy_findings(measure_organs(mask, affine), classes, path, has_geometry)
    return [
        dataclasses.replace(
            item, rule=f"{MASK_RULE}{item.rule}", problem=f"implausible prediction: {item.problem}", remedy=_REMEDY
        )
        for item in found
        if item.rule != _NUMBERING
    ]
