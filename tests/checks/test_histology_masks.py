"""A mask keeps its ids, or is refused with the file, the fault and the remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2net_bundle.checks.histology import load_mask
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.options import HistologyOptions
from tests.checks.histology_files import IDS, RGB, Write, mask, with_alpha, write_png

PLAIN = HistologyOptions()
BINARY = HistologyOptions(label_values="binary")
IDS_DECLARED = HistologyOptions(label_values="instances")


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(".png", np.uint8), (".bmp", np.uint8), (".tif", np.uint8), (".png", np.uint16), (".tif", np.int32)],
    ids=["PNG", "BMP", "TIFF", "16-bit PNG", "32-bit TIFF"],
)
def test_a_mask_keeps_its_ids(suffix: str, dtype: type, tmp_path: Path) -> None:
    ids = IDS.astype(dtype) * (1 if dtype == np.uint8 else 300)
    Image.fromarray(ids).save(tmp_path / f"a{suffix}")
    loaded, findings = load_mask(tmp_path / f"a{suffix}", PLAIN)
    assert loaded.dtype == np.int32
    assert np.array_equal(loaded, ids)
    assert findings == []


@pytest.mark.parametrize("transparency", [None, bytes([0] + [255] * 255)], ids=["opaque", "transparent background"])
def test_a_palette_mask_keeps_its_indices_not_its_colours(transparency: bytes | None, tmp_path: Path) -> None:
    source = Image.fromarray(IDS).convert("P")
    source.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 90, 90, 90])
    source.save(tmp_path / "a.png", **({} if transparency is None else {"transparency": transparency}))
    assert np.array_equal(load_mask(tmp_path / "a.png", PLAIN)[0], IDS)


@pytest.mark.parametrize(
    ("bits", "rows"),
    [(1, [0b01000000]), (2, [0b00011011]), (4, [0x02, 0x9F])],
    ids=["1 bit", "2 bits", "4 bits"],
)
def test_a_mask_of_few_bits_keeps_its_ids_though_pillow_stretches_them(
    bits: int, rows: list[int], tmp_path: Path
) -> None:
    expected = {1: [0, 1, 0, 0], 2: [0, 1, 2, 3], 4: [0, 2, 9, 15]}[bits]
    write_png(tmp_path / "a.png", [bytes(rows)], width=4, bits=bits, colour_type=0)
    assert load_mask(tmp_path / "a.png", PLAIN)[0].tolist() == [expected]


def test_a_mask_with_opaque_alpha_keeps_its_ids(tmp_path: Path) -> None:
    source = Image.fromarray(IDS)
    source.putalpha(255)
    source.save(tmp_path / "a.png")
    assert np.array_equal(load_mask(tmp_path / "a.png", PLAIN)[0], IDS)


@pytest.mark.parametrize("high", [255, 1])
def test_a_declared_binary_mask_becomes_0_and_1(high: int, tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, high], [high, 0]], np.uint8)).save(tmp_path / "a.png")
    assert load_mask(tmp_path / "a.png", BINARY)[0].tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("options", [PLAIN, BINARY], ids=["instances", "binary"])
def test_an_empty_mask_is_allowed(options: HistologyOptions, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "a.png")
    loaded, findings = load_mask(tmp_path / "a.png", options)
    assert (loaded.sum(), findings) == (0, [])


@pytest.mark.parametrize(
    ("name", "write", "options", "message"),
    [
        ("a.png", mask(RGB), PLAIN, r"a\.png: contains colours \(RGB\), not ids\. Save one whole number per pixel"),
        ("a.png", with_alpha("RGB", 255), PLAIN, r"a\.png: contains colours \(RGBA\), not ids\. Save one whole number"),
        ("a.png", with_alpha("L", 9), PLAIN, r"a\.png: has transparent pixels \(alpha down to 9 of 255\)\. Save one"),
        ("a.tif", mask(np.ones((2, 2), np.float32)), PLAIN, r"a\.tif: contains floating-point numbers, .*Save one"),
        ("a.jpg", mask(IDS), PLAIN, r"a\.jpg: is a JPEG file, whose compression changes the ids\. Save one whole"),
        (
            "a.tif",
            mask(IDS.astype(np.int32) - 1),
            PLAIN,
            r"a\.tif: contains -1, 0, 1, 2, but ids start at 0\. Save it as",
        ),
        (
            "a.png",
            mask(IDS // 3 * 255),
            IDS_DECLARED,
            r"a\.png: contains 0, 255 only and looks binary, .*-values binary",
        ),
        ("a.png", mask(255 + 0 * IDS), IDS_DECLARED, r"a\.png: contains 255 only and looks binary, .*_values: binary"),
        ("a.png", mask(IDS), BINARY, r"a\.png: contains 0, 1, 2, 3, but a binary mask has .*\. Declare ids"),
        ("a.png", mask(IDS // 3 * 127), BINARY, r"a\.png: contains 0, 127, but a binary mask .*-values instances"),
        (
            "a.png",
            mask(np.arange(12, dtype=np.uint8).reshape(3, 4)),
            BINARY,
            r"a\.png: contains 0, 1, 2, 3, 4, 5, 6, 7, … \(12 values\), but a binary mask",
        ),
    ],
    ids=[
        "RGB", "RGBA", "transparent", "float", "JPEG", "negative", "0 and 255 as ids", "255 as id",
        "ids as binary", "0 and 127 as binary", "many values as binary",
    ],
)  # fmt: skip
def test_a_mask_that_is_not_what_was_declared_is_refused(
    name: str, write: Write, options: HistologyOptions, message: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError, match=message):
        load_mask(tmp_path / name, options)


@pytest.mark.parametrize(
    ("ids", "refused"), [((0, 18, 255), False), ((0, 7, 26), True)], ids=["declared classes", "beyond them"]
)
def test_class_masks_may_contain_only_the_declared_classes_and_the_ignored_id(
    tmp_path: Path, ids: tuple[int, ...], refused: bool
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([ids], np.uint8)).save(path)
    options = HistologyOptions(label_values="classes", num_classes=19, ignore_id=255)
    if not refused:
        np.testing.assert_array_equal(load_mask(path, options)[0], [ids])
        return
    message = r"a\.png: contains 0, 7, 26, but the classes are 0 to 18, and 255 is ignored\."
    with pytest.raises(DataError, match=message):
        load_mask(path, options)


UNDECLARED = [(2, (0, 1)), (2, (0,)), (3, (0, 1, 2)), (None, (0, 1, 17))]


@pytest.mark.parametrize(("num_classes", "ids"), UNDECLARED)
def test_undeclared_masks_are_class_ids_where_they_can_be(
    tmp_path: Path, num_classes: int | None, ids: tuple[int, ...]
) -> None:
    mask(np.array([ids], np.uint8))(tmp_path / "a.png")
    np.testing.assert_array_equal(load_mask(tmp_path / "a.png", HistologyOptions(num_classes=num_classes))[0], [ids])


@pytest.mark.parametrize(
    ("num_classes", "ids", "problem"),
    [
        (
            2,
            (0, 255),
            r"contains 0, 255 only and looks binary, but is not declared as binary\. Declare .*binary if 255",
        ),
        (
            None,
            (0, 255),
            r"contains 0, 255 only and looks binary, but is not declared as binary\. Declare .*--label-values",
        ),
        (3, (0, 255), r"looks binary, but is not declared as binary, and there are 3 classes\. Declare"),
        (
            2,
            (0, 1, 2, 3),
            r"but the classes are 0 to 1, and nothing else is declared\. .*instances .*binary",
        ),
        (3, (0, 3), r"contains 0, 3, but the classes are 0 to 2\. Correct the labels of the data list"),
    ],
    ids=["binary", "binary without a data list", "binary of three classes", "instances", "beyond the classes"],
)
def test_undeclared_masks_of_other_values_are_refused_with_the_choices(
    tmp_path: Path, num_classes: int | None, ids: tuple[int, ...], problem: str
) -> None:
    mask(np.array([ids], np.uint8))(tmp_path / "a.png")
    with pytest.raises(DataError, match=rf"a\.png: .*{problem}"):
        load_mask(tmp_path / "a.png", HistologyOptions(num_classes=num_classes))


@pytest.mark.parametrize("label_values", ["instances", "binary"])
def test_masks_of_two_classes_cannot_be_declared_where_there_are_more(label_values: str) -> None:
    with pytest.raises(
        ValueError, match=rf"label_values is '{label_values}', which makes two classes, and there are 3"
    ):
        HistologyOptions(label_values=label_values, num_classes=3)
