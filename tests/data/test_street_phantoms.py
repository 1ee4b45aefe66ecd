"""Street phantoms have Cityscapes' layout, hold every class, and cannot be segmented by colour."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2net_bundle.data.phantoms import make_street_phantoms, street_phantom
from i2net_bundle.labels import label_table, map_labels

SIZE = (64, 128)
TABLE = label_table("cityscapes")


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and train ids of twelve scenes."""
    pairs = [street_phantom(index, SIZE, seed=3) for index in range(12)]
    return [(image, map_labels(label, TABLE.source_map("labelIds"), "scene")) for image, label in pairs]


def test_a_scene_is_an_image_with_label_ids() -> None:
    image, label = street_phantom(0, SIZE)
    assert (image.shape, image.dtype) == ((*SIZE, 3), np.uint8)
    assert (label.shape, label.dtype) == (SIZE, np.uint8)
    assert set(np.unique(label)) <= set(range(34))


def test_same_seed_and_index_give_the_same_scene_and_others_do_not() -> None:
    one, again = street_phantom(4, SIZE, seed=1), street_phantom(4, SIZE, seed=1)
    assert all(np.array_equal(*pair) for pair in zip(one, again, strict=True))
    for other in (street_phantom(5, SIZE, seed=1), street_phantom(4, SIZE, seed=2)):
        assert not any(np.array_equal(*pair) for pair in zip(one, other, strict=True))


def test_every_class_occurs_and_some_pixels_are_ignored(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    found = Counter(value for _, label in scenes for value in np.unique(label).tolist())
    assert set(found) == {*range(19), 255}
    assert found[0] == found[255] == len(scenes)
    ignored = np.mean([(label == 255).mean() for _, label in scenes])
    assert 0.01 < ignored < 0.15


def test_brightness_does_not_tell_road_from_sidewalk(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    means = [[image[label == index].mean() for image, label in scenes] for index in (0, 1)]
    darkest, brightest = max(map(min, means)), min(map(max, means))
    assert brightest - darkest > 20, means


def test_the_position_of_a_pixel_does_not_tell_its_class(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    stacked = np.stack([label for _, label in scenes])
    counts = np.stack([(stacked == index).sum(axis=0) for index in range(19)])
    assert counts.max(axis=0).sum() / counts.sum() < 0.75


def test_files_are_those_of_cityscapes_and_test_annotations_are_void(tmp_path: Path) -> None:
    make_street_phantoms(tmp_path, 2, 1, 1, SIZE, seed=5)
    names = ["train/phantom/phantom_000000", "train/phantom/phantom_000001", "val/phantom/phantom_000002"]
    names.append("test/phantom/phantom_000003")
    expected = {f"leftImg8bit/{name}_000019_leftImg8bit.png" for name in names}
    expected |= {f"gtFine/{name}_000019_gtFine_labelIds.png" for name in names}
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")} == expected
    image, label = street_phantom(1, SIZE, seed=5)
    assert np.array_equal(Image.open(tmp_path / f"leftImg8bit/{names[1]}_000019_leftImg8bit.png"), image)
    assert np.array_equal(Image.open(tmp_path / f"gtFine/{names[1]}_000019_gtFine_labelIds.png"), label)
    assert not np.asarray(Image.open(tmp_path / f"gtFine/{names[3]}_000019_gtFine_labelIds.png")).any()


def test_a_folder_that_holds_a_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "leftImg8bit").mkdir()
    with pytest.raises(FileExistsError, match=r"already holds leftImg8bit\. Delete the folder"):
        make_street_phantoms(tmp_path, 1, 0, 0, SIZE)
    assert not (tmp_path / "gtFine").exists()


def test_a_scene_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match=r"size \(64, 40\) is too small for streets"):
        street_phantom(0, (64, 40))
