"""How to settle what a file leaves open, as the user declares it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_FORMS = (None, "sform", "qform")
_GEOMETRIES = (None, "image", "label")
_LABEL_VALUES = ("instances", "binary", "classes")


@dataclass(frozen=True)
class VolumeOptions:
    """How to read volumes that leave a choice; what is not chosen here stays an error.

    Attributes:
        header: "sform" or "qform": which one to use where the two disagree.
        volume: index of the volume to take from a 4D file.
        series: number, from 1, or UID of the series to take from a DICOM folder that holds several.
        geometry: "image" or "label": whose header holds for both where the two disagree but match voxel by voxel.
        fill_nonfinite: value that replaces NaN and infinite voxels; HU for CT.
        hu_offset: added to every voxel of a CT; -1024 for files that hold HU + 1024.
        any_intensities: accept a CT whose values do not look like Hounsfield units.
        class_names: names of the labels, background first; labels beyond them are refused.

    Raises:
        ValueError: a value is none of these.
    """

    header: str | None = None
    volume: int | None = None
    series: int | str | None = field(default=None, kw_only=True)
    geometry: str | None = None
    fill_nonfinite: float | None = None
    hu_offset: float = 0.0
    any_intensities: bool = False
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check the values; lists from a configuration become tuples, a series number given as text an integer."""
        if isinstance(self.series, str) and self.series.isdecimal():
            object.__setattr__(self, "series", int(self.series))
        if isinstance(self.series, int) and self.series < 1:
            raise ValueError(f"series must be a number from 1 or a UID, got {self.series}.")
        if self.header not in _FORMS:
            raise ValueError(f"header must be sform or qform, got {self.header!r}.")
        if self.geometry not in _GEOMETRIES:
            raise ValueError(f"geometry must be image or label, got {self.geometry!r}.")
        if self.class_names is not None:
            object.__setattr__(self, "class_names", tuple(self.class_names))


@dataclass(frozen=True)
class HistologyOptions:
    """What the user declares about histology files.

    Attributes:
        um_per_px: micrometres per pixel, instead of what the files say.
        resample: whether the images are resized to the training scale, so that another scale is no fault.
        label_values: "instances" for masks of ids 0, 1, …, n; "binary" for masks of 0 and 255, or of 0 and 1;
            "classes" for masks of class ids, 255 being ignored.
        num_classes: with "classes", how many there are; other ids are refused.

    Raises:
        ValueError: a value is out of range.
    """

    um_per_px: float | None = None
    resample: bool = False
    label_values: str = "instances"
    num_classes: int | None = None

    def __post_init__(self) -> None:
        if self.um_per_px is not None and not 0 < self.um_per_px < math.inf:
            raise ValueError(f"um_per_px is {self.um_per_px}; pass a number of micrometres above 0.")
        if self.label_values not in _LABEL_VALUES:
            raise ValueError(f"label_values is '{self.label_values}'; pass one of: {', '.join(_LABEL_VALUES)}.")
