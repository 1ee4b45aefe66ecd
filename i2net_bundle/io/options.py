"""What the user declares where a file is ambiguous."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from i2net_bundle.io.channels import CT, legal_channels
from i2net_bundle.labels import LabelClass, classes_of

LABEL_VALUES = ("instances", "binary", "classes")
"""What the masks of 2D images can contain."""

_FORMS = (None, "sform", "qform")
_GEOMETRIES = (None, "image", "label")


@dataclass(frozen=True)
class VolumeOptions:
    """How to read ambiguous volumes; an ambiguity that is not settled here is an error.

    Attributes:
        header: "sform" or "qform": the one to use where they disagree.
        volume: index of the volume to read from a 4D file.
        series: number (from 1) or UID of the series to read from a DICOM folder with several.
        geometry: "image" or "label": the header to use for both where they disagree but match voxel by voxel.
        fill_nonfinite: value that replaces NaN and infinite voxels; HU for CT.
        hu_offset: added to every voxel of a CT; -1024 for files that contain HU + 1024.
        any_intensities: accept a CT whose values do not look like Hounsfield units.
        classes: classes of the labels, background first, as names or `LabelClass`; other labels are refused.
        channels: names of the image's channels. Those named "CT" are checked for Hounsfield units, others are not.
        ignore_id: label that is excluded from losses and scores.

    Raises:
        ValueError: a value is not allowed.
    """

    header: str | None = None
    volume: int | None = None
    series: int | str | None = field(default=None, kw_only=True)
    geometry: str | None = None
    fill_nonfinite: float | None = None
    hu_offset: float = 0.0
    any_intensities: bool = False
    classes: tuple[LabelClass, ...] | None = None
    channels: tuple[str, ...] = CT
    ignore_id: int | None = None

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
        if self.classes is not None:
            object.__setattr__(self, "classes", _classes(self.classes))
        object.__setattr__(self, "channels", legal_channels(self.channels))

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, background first."""
        return None if self.classes is None else tuple(item.name for item in self.classes)


@dataclass(frozen=True)
class HistologyOptions:
    """What the user declares about histology files.

    Attributes:
        um_per_px: micrometres per pixel, overriding the files.
        resample: whether images are resized to the training scale; another scale is then accepted.
        label_values: "instances" for masks of ids 0, 1, …, n, which all become class 1; "binary" for masks of 0 and
            255, or of 0 and 1; "classes" for masks of class ids. Undeclared masks must contain class ids; others are
            refused.
        num_classes: number of classes, background included; other ids are refused.
        ignore_id: mask value that is excluded from losses and scores.

    Raises:
        ValueError: a value is out of range, or instances or binary masks are declared with more than two classes.
    """

    um_per_px: float | None = None
    resample: bool = False
    label_values: str | None = None
    num_classes: int | None = None
    ignore_id: int | None = None

    def __post_init__(self) -> None:
        if self.um_per_px is not None and not 0 < self.um_per_px < math.inf:
            raise ValueError(f"um_per_px is {self.um_per_px}; pass a number of micrometres above 0.")
        if self.label_values is not None and self.label_values not in LABEL_VALUES:
            raise ValueError(f"label_values is '{self.label_values}'; pass one of: {', '.join(LABEL_VALUES)}.")
        if self.label_values in ("instances", "binary") and self.num_classes not in (None, 2):
            raise ValueError(
                f"label_values is '{self.label_values}', which makes two classes, and there are {self.num_classes}. "
                "Declare label_values: classes, or correct the labels of the data list."
            )

    @property
    def has_class_ids(self) -> bool:
        """Whether masks contain class ids, declared or not; otherwise every value but 0 is class 1."""
        return self.label_values in (None, "classes")


def _classes(classes: Sequence[str | LabelClass]) -> tuple[LabelClass, ...]:
    if all(isinstance(item, LabelClass) for item in classes):
        return tuple(item for item in classes if isinstance(item, LabelClass))
    return classes_of([item.name if isinstance(item, LabelClass) else item for item in classes])
