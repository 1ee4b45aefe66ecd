"""Micrometres per pixel, as microscopes and slide scanners record them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from xml.etree import ElementTree

_MICROSCOPE_UM_PER_PX = (0.05, 20.0)
_UM_PER_INCH = 25400
_UM_PER_UNIT = {
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    r"\u00b5m": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "inch": float(_UM_PER_INCH),
}
_IMAGEJ_UNIT = re.compile(r"^unit=(.+?)\s*$", re.MULTILINE)
_APERIO = re.compile(r"\bMPP\s*=\s*([0-9]+(?:[.,][0-9]+)?)")


def recorded_um_per_px(dpi: Sequence[float], description: str = "", resolution: Sequence[float] = ()) -> float | None:
    r"""Return the micrometres per pixel from a file's description, or else from its resolution.

    Args:
        dpi: pixels per inch along x and y; empty if the file has none.
        description: a TIFF's ImageDescription: Aperio's ``MPP = …``, OME-XML's ``PhysicalSizeX`` and ImageJ's
            ``unit=…`` are understood.
        resolution: pixels along x and y per the unit that ImageJ names in the description.

    Returns:
        None where nothing is recorded, pixels are not square, or the value lies outside 0.05-20 µm and is therefore the
        resolution of a screen or printer (300 dpi are 85 µm).

    >>> recorded_um_per_px((96, 96), "Aperio Image Library|AppMag = 40|MPP = 0.2527")
    0.2527
    >>> recorded_um_per_px((), "ImageJ=1.54f\nunit=micron", (4, 4))
    0.25
    """
    sides = _aperio(description) or _ome(description) or _imagej(description, resolution)
    sides = sides or [_UM_PER_INCH / value for value in dpi if value > 0]
    if len(sides) != 2 or not math.isclose(*sides, rel_tol=0.01):
        return None
    um_per_px = sum(sides) / 2
    lowest, highest = _MICROSCOPE_UM_PER_PX
    return um_per_px if lowest <= um_per_px <= highest else None


def _aperio(description: str) -> list[float]:
    found = _APERIO.search(description) if description.startswith("Aperio") else None
    return 2 * [float(found.group(1).replace(",", "."))] if found else []


def _imagej(description: str, resolution: Sequence[float]) -> list[float]:
    found = _IMAGEJ_UNIT.search(description) if description.startswith("ImageJ=") else None
    um_per_unit = _UM_PER_UNIT.get(found.group(1).lower()) if found else None
    return [] if um_per_unit is None else [um_per_unit / value for value in resolution if value > 0]


def _ome(description: str) -> list[float]:
    """Width and height of the first image's pixels in µm."""
    if "<OME" not in description:
        return []
    try:
        pixels = ElementTree.fromstring(description.encode()).find(".//{*}Pixels")
        attributes = {} if pixels is None else pixels.attrib
        return [
            float(attributes[f"PhysicalSize{axis}"]) * _UM_PER_UNIT[attributes.get(f"PhysicalSize{axis}Unit", "µm")]
            for axis in "XY"
        ]
    except (ElementTree.ParseError, KeyError, ValueError):
        return []
