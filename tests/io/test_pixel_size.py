"""Pixel sizes from the metadata of image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from i2net_bundle.checks.histology import load_image
from i2net_bundle.io.images import image_um_per_px, open_image
from i2net_bundle.io.options import HistologyOptions
from i2net_bundle.io.pixel_size import recorded_um_per_px
from tests.checks.histology_files import RGB

OME = '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image>{}</Image></OME>'
TRAINING_DPI = 25400 / 0.62005  # 25.4 mm per inch


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
def test_the_pixel_size_is_read_from_a_description(description: str, expected: float | None) -> None:
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


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.png", {"dpi": (TRAINING_DPI, TRAINING_DPI)}),
        ("a.bmp", {"dpi": (TRAINING_DPI, TRAINING_DPI)}),
        ("a.tif", {"dpi": (TRAINING_DPI, TRAINING_DPI)}),
        ("a.tif", {"resolution_unit": 3, "x_resolution": 1e4 / 0.62005, "y_resolution": 1e4 / 0.62005}),
    ],
    ids=["PNG", "BMP", "TIFF in inches", "TIFF in cm"],
)
def test_the_pixel_size_is_read_from_the_file(name: str, how: dict[str, Any], tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / name, **how)
    um_per_px = image_um_per_px(open_image(tmp_path / name))
    assert um_per_px == pytest.approx(0.62005, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.png", {}),
        ("a.png", {"dpi": (300, 300)}),
        ("a.bmp", {}),
        ("a.tif", {}),
        ("a.jpg", {}),
        ("a.jpg", {"dpi": (72, 72)}),
        ("a.png", {"dpi": (0, 0)}),
        ("a.png", {"dpi": (25400, 12700)}),
    ],
    ids=["PNG", "300 dpi", "BMP at 96 dpi", "TIFF", "JPEG", "72 dpi", "zero", "oblong pixels"],
)
def test_the_resolution_of_a_screen_or_printer_is_no_pixel_size(name: str, how: dict[str, Any], tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / name, **how)
    assert image_um_per_px(open_image(tmp_path / name)) is None
    assert load_image(tmp_path / name, HistologyOptions())[1] == []


def test_ome_s_micrometres_are_read_from_a_file(tmp_path: Path) -> None:
    sides = {f"PhysicalSize{axis}{what}": value for axis in "XY" for what, value in (("", 0.25), ("Unit", "µm"))}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((4, 4, 3), np.uint8), photometric="rgb", metadata=sides)
    assert image_um_per_px(Image.open(tmp_path / "a.ome.tif")) == 0.25
