"""Pixel sizes from the metadata of image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from i2net_bundle.io.images import image_um_per_px
from i2net_bundle.io.pixel_size import recorded_um_per_px

OME = '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image>{}</Image></OME>'


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("Aperio Image Library v11.2.1\r\n46000x32914|AppMag = 40|MPP = 0.2325|Left = 1", 0.2325),
        ("Aperio Image Library|MPP = 0,5", 0.5),
        ("Aperio Image Library|AppMag = 40", None),
        ("somebody's MPP = 0.3", None),
        (OME.format('<Pixels PhysicalSizeX="0.5" PhysicalSizeY="0.5"/>'), 0.5),
        (OME.format('<Pixels PhysicalSizeX="500" PhysicalSizeXUnit="nm" PhysicalSizeY="0.5"/>'), 0.5),
        (OME.format('<Pixels PhysicalSizeX="0.5" PhysicalSizeY="1"/>'), None),
        (OME.format('<Pixels PhysicalSizeX="0.5" PhysicalSizeXUnit="pixel" PhysicalSizeY="0.5"/>'), None),
        (OME.format("<Pixels/>"), None),
        (OME.format(""), None),
        ("<OME broken", None),
    ],
)
def test_a_description_tells_the_pixel_size(description: str, expected: float | None) -> None:
    assert recorded_um_per_px((), description) == expected


def test_a_description_counts_before_the_resolution_which_counts_without_one() -> None:
    dpi = (25400 / 0.4, 25400 / 0.4)
    assert recorded_um_per_px(dpi, "Aperio|MPP = 0.2") == 0.2
    assert recorded_um_per_px(dpi, "Aperio|AppMag = 20") == pytest.approx(0.4)


def test_the_description_of_an_image_opened_by_pillow_is_read_too(tmp_path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[TiffImagePlugin.IMAGEDESCRIPTION] = "Aperio Image Library|MPP = 0.25"
    Image.new("RGB", (4, 4)).save(tmp_path / "a.tif", tiffinfo=tags)
    assert image_um_per_px(Image.open(tmp_path / "a.tif")) == 0.25


def test_ome_s_micrometres_are_read_from_a_file(tmp_path: Path) -> None:
    sides = {f"PhysicalSize{axis}{what}": value for axis in "XY" for what, value in (("", 0.25), ("Unit", "µm"))}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((4, 4, 3), np.uint8), photometric="rgb", metadata=sides)
    assert image_um_per_px(Image.open(tmp_path / "a.ome.tif")) == 0.25
