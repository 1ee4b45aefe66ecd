"""Letters at the left and right edge of a slice that name the patient's sides, taken from the image's affine."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

NO_LETTERS = ("", "")
_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}


def side_letters(affine: np.ndarray, axis: int = 1) -> tuple[str, str]:
    """Directions of the patient at the first and the last voxel along an axis: R, L, A, P, S or I.

    Args:
        affine: voxel indices to RAS mm, (4, 4).
        axis: axis of the volume that is drawn from left to right.

    Returns:
        letters of the left and the right edge; `NO_LETTERS` if the affine does not define the axis.

    >>> side_letters(np.diag([-2.0, -2.0, 3.0, 1.0]), axis=0)  # indices increase towards the patient's left
    ('R', 'L')
    """
    code = nib.aff2axcodes(affine)[axis]
    return (_OPPOSITE[code], code) if code else NO_LETTERS


def letters_of(image: Any) -> tuple[str, str]:
    """Letters of the slices of a volume (C, H, W, D), drawn with W from left to right.

    Args:
        image: a ``MetaTensor``; tensors without an affine and 2D images have no letters.
    """
    affine = getattr(image, "affine", None)
    return NO_LETTERS if affine is None or image.ndim != 4 else side_letters(np.asarray(affine, np.float64))


def draw_side_letters(axis: Axes, letters: tuple[str, str]) -> None:
    """Write the letters at the left and the right edge of a picture."""
    for x, letter, alignment in ((0.02, letters[0], "left"), (0.98, letters[1], "right")):
        if letter:
            axis.text(
                x,
                0.5,
                letter,
                color="white",
                fontsize=9,
                fontweight="bold",
                ha=alignment,
                va="center",
                transform=axis.transAxes,
                path_effects=[withStroke(linewidth=2, foreground="black")],
            )
