"""A contact sheet shows every case in radiological orientation, with its labels' outlines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from i2net_bundle.labels import label_table
from i2net_bundle.labels.colors import PALETTE
from i2net_bundle.reports.contact_sheet import draw_sheet
from i2net_bundle.reports.preview import preview_dataset
from tests.checks.ct_files import AFFINE, hu_volume, save
from tests.reports.previews import MARKED, NOISE, html, pixels_of, sheet, written

ORGAN_COLORS = [item.color for item in label_table("synapse").classes[1:]]


@pytest.mark.parametrize("page", ["ct_page", "gland_page", "faulty_page"])
def test_no_tile_of_a_sheet_is_blank(page: str, request: pytest.FixtureRequest) -> None:
    picture = sheet(request.getfixturevalue(page))
    height, width = picture.shape[0] // 2, picture.shape[1] // 3  # 2 rows of 3 tiles
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 0)):
        part = picture[row * height : (row + 1) * height, column * width : (column + 1) * width]
        unread = page == "faulty_page" and (row, column) == (0, 0)
        assert part.std() > (2 if unread else 30)
    assert (picture[height:, width + 10 :] == 255).all()  # four cases leave two tiles empty


def test_every_organ_is_outlined_in_its_colour(ct_page: Path) -> None:
    picture = sheet(ct_page)
    assert all(len(pixels_of(picture, color)) > 20 for color in ORGAN_COLORS)


def test_every_gland_is_outlined(gland_page: Path) -> None:
    glands = np.unique(np.asarray(Image.open(gland_page.parents[1] / "annotations" / "train_1_anno.png")))
    picture = sheet(gland_page)
    tile = picture[: picture.shape[0] // 2, : picture.shape[1] // 3]
    assert all(len(pixels_of(tile, PALETTE[index - 1])) > 5 for index in glands if index)


def test_the_tiles_of_cases_with_findings_are_marked(faulty_page: Path) -> None:
    picture = sheet(faulty_page)
    height, width = picture.shape[0] // 2, picture.shape[1] // 3
    marks = {(row // height, min(column // width, 2)) for row, column in pixels_of(picture, MARKED)}
    assert marks == {(0, 0), (0, 1), (1, 0)}  # cases 5, 6 and 8; 7 is the third


def write_block(folder: Path, orientation: str = "LPS") -> Path:
    """A patient whose only organ lies right, in front and high up, stored with its axes in that orientation."""
    folder.mkdir(parents=True)
    hu = hu_volume((40, 36, 20))
    labels = np.zeros(hu.shape, np.uint8)
    labels[30:36, 26:32, 14:18] = 1
    affine = np.diag([4.0, 4, 6, 1])
    affine[:3, 3] = -80, -70, -60
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(orientation)
    )
    for name, array in (("a", hu), ("a_label", labels)):
        turned = nib.Nifti1Image(array, affine).as_reoriented(turn)
        save(folder / f"{name}.nii.gz", np.asarray(turned.dataobj), turned.affine)
    return written(folder, training=[{"image": "a.nii.gz", "label": "a_label.nii.gz"}])


def test_slices_are_shown_as_a_radiologist_sees_them(tmp_path: Path) -> None:
    picture = sheet(preview_dataset(write_block(tmp_path / "block")))
    picture = picture[30:]  # below the title
    shown = (picture < 250).any(axis=-1)
    middle = picture.shape[1] // 2
    right = np.flatnonzero(shown[:, middle + 10 :].any(axis=1))
    gap = right[np.flatnonzero(np.diff(right) > 1)[0]] + 1  # between the two slices on the right
    panels = {
        "axial": (slice(None), slice(0, middle)),  # right on the left, front up
        "coronal": (slice(0, gap), slice(middle, None)),  # right on the left, head up
        "sagittal": (slice(gap, None), slice(middle, None)),  # front on the left, head up
    }
    for name, part in panels.items():
        row, column = np.argwhere(shown[part]).mean(axis=0)
        outline = pixels_of(picture[part], PALETTE[0], within=70)
        assert len(outline) > 20, name
        assert (outline.mean(axis=0) < (row - 5, column - 5)).all(), name


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "SPL", "AIR"])
def test_a_patient_looks_the_same_however_it_is_stored(tmp_path: Path, orientation: str) -> None:
    pictures = [sheet(preview_dataset(write_block(tmp_path / axes, axes))) for axes in ("LPS", orientation)]
    np.testing.assert_array_equal(*pictures)


def test_a_single_slice_is_drawn(tmp_path: Path) -> None:
    labels = np.zeros((20, 18), np.uint8)
    labels[5:12, 4:11] = 1
    save(tmp_path / "a.nii.gz", hu_volume((20, 18)), AFFINE)
    save(tmp_path / "a_label.nii.gz", labels, AFFINE)
    page = preview_dataset(written(tmp_path, training=[{"image": "a.nii.gz", "label": "a_label.nii.gz"}]))
    assert len(pixels_of(sheet(page), PALETTE[0])) > 20


def test_a_mask_that_covers_the_whole_image_is_outlined_at_its_border(tmp_path: Path) -> None:
    Image.fromarray(NOISE // 4).save(tmp_path / "a.png")
    Image.fromarray(np.ones((40, 60), np.uint8)).save(tmp_path / "a_anno.png")
    page = preview_dataset(written(tmp_path, training=[{"image": "a.png", "label": "a_anno.png"}]))
    assert len(pixels_of(sheet(page), PALETTE[0], within=90)) > 500


def test_a_large_image_is_drawn_smaller(tmp_path: Path) -> None:
    Image.fromarray(np.tile(NOISE, (40, 40, 1))).save(tmp_path / "a.png")  # 1600 × 2400
    page = preview_dataset(written(tmp_path, test=["a.png"]))
    assert max(sheet(page).shape) < 600


@pytest.mark.parametrize(("num_cases", "sizes"), [(13, [12, 1]), (12, [12])], ids=["13 cases", "12 cases"])
def test_a_sheet_has_twelve_cases(num_cases: int, sizes: list[int], tmp_path: Path) -> None:
    names = [f"{index:02d}.png" for index in range(num_cases)]
    for index, name in enumerate(names):
        Image.fromarray(NOISE + np.uint8(index)).save(tmp_path / name)
    page = preview_dataset(written(tmp_path, training=names[:7], test=names[7:]))
    pages = [f"page_{number + 1:02d}.png" for number in range(len(sizes))]
    assert sorted(path.name for path in page.parent.iterdir()) == ["index.html", *pages]
    for number, (name, size) in enumerate(zip(pages, sizes, strict=True), 1):
        assert f'<img src="{name}" alt="Contact sheet {number} of {len(pages)}">' in html(page)
        picture = sheet(page, number)
        columns, rows = min(3, size), -(-size // 3)
        assert picture.shape[:2] == (int(rows * 396), int(columns * 450))  # 3.96 × 4.5 inches at 100 dpi
        assert picture.std() > 30


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "AIR"])
def test_slices_are_marked_with_the_letters_of_the_patient_s_sides(
    orientation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []

    def draw(tiles: Sequence[Any], colors: Sequence[str]) -> Any:
        figure = draw_sheet(tiles, colors)
        drawn.extend([text.get_text() for text in axis.texts] for axis in figure.get_axes())
        return figure

    monkeypatch.setattr("i2net_bundle.reports.preview.draw_sheet", draw)
    preview_dataset(write_block(tmp_path / "block", orientation))
    assert drawn == [["R", "L"], ["R", "L"], ["A", "P"]]  # axial, coronal, sagittal
