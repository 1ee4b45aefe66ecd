"""Targets that separate glands: by hand, at touching glands, at the patch's border, and after augmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from i2net_bundle.io.options import HistologyOptions
from i2net_bundle.training.cache import CaseCache
from i2net_bundle.transforms import histology_reading, histology_training
from i2net_bundle.transforms.augmentation import reseed
from i2net_bundle.transforms.separation_targets import (
    CONTOUR_PX,
    DEPTH_PX,
    SEPARATIONS,
    instance_depth,
    separates,
    separation_target,
)


@pytest.fixture
def touching() -> np.ndarray:
    """Two squares of 30 pixels that share an edge at column 40, and a third one at the image's border."""
    ids = np.zeros((60, 90), np.int32)
    ids[10:40, 10:40], ids[10:40, 40:70], ids[45:, 75:] = 3, 7, 300
    return ids


def test_depth_counts_from_the_border_to_anything_else(touching: np.ndarray) -> None:
    depth = instance_depth(touching)
    assert depth[25, 10] == depth[25, 39] == depth[25, 40] == depth[25, 69] == 1
    assert depth[25, 12] == depth[25, 37] == depth[25, 42] == 3
    assert depth[5, 5] == 0
    assert depth[59, 89] == 15  # the image's border is no border of the gland


def test_depth_equals_that_of_every_instance_alone(touching: np.ndarray) -> None:
    alone = sum(ndimage.distance_transform_edt(touching == index) for index in (3, 7, 300))
    assert np.abs(instance_depth(touching) - alone).max() < 1.0  # within a pixel, where instances touch
    apart = np.where(touching == 7, 0, touching)
    assert np.array_equal(instance_depth(apart), alone * (apart > 0))


def test_contours_lie_on_both_sides_of_a_border(touching: np.ndarray) -> None:
    contour = separation_target(touching, "contour")
    row = contour[25]
    assert row[10 - CONTOUR_PX : 10 + CONTOUR_PX].all() and row[40 - CONTOUR_PX : 40 + CONTOUR_PX].all()
    assert not row[10 + CONTOUR_PX] and not row[10 - CONTOUR_PX - 1] and not row[40 - CONTOUR_PX - 1]
    assert contour[59, 89] == 0


def test_distances_stop_at_1_and_are_least_where_glands_touch(touching: np.ndarray) -> None:
    distance = separation_target(touching, "distance")
    assert distance[25, 25] == distance[25, 55] == 1
    assert distance[25, 39] == distance[25, 40] == pytest.approx(1 / DEPTH_PX)
    assert not distance[touching == 0].any()


def test_every_gland_has_one_marker_however_small(touching: np.ndarray) -> None:
    touching[50:54, 10:14] = 9  # 4 pixels wide
    marker = separation_target(touching, "marker") > 0
    assert ndimage.label(marker)[1] == 4
    assert set(np.unique(touching[marker])) == {3, 7, 9, 300}
    depth = instance_depth(touching)
    assert (
        depth[marker & (touching == 3)].min() == 8 and depth[marker & (touching == 9)].min() == 2
    )  # half of 15, and of 2


@pytest.mark.parametrize("fill", [0, 5])
@pytest.mark.parametrize("separation", SEPARATIONS)
def test_patches_of_one_value_have_finite_targets(separation: str, fill: int) -> None:
    target = separation_target(np.full((20, 30), fill), separation)
    assert target.dtype == np.float32 and set(np.unique(target)) <= {0, 1}
    assert target.all() == (fill > 0 and separation != "contour")


@pytest.mark.parametrize("separation", SEPARATIONS)
def test_targets_are_those_of_the_augmented_patch(separation: str, touching: np.ndarray) -> None:
    item = {"image": np.zeros((3, *touching.shape), np.uint8), "label": touching[None]}
    plain, with_targets = (
        histology_training((48, 48), 1.0, elastic_px=4.0, separation=kind) for kind in ("none", separation)
    )
    patches = []
    for transform in (plain, with_targets):
        reseed(transform, 1, 2, 3)
        patches.append(transform(dict(item))["label"])
    ids, target = np.asarray(patches[0])[0], patches[1]
    assert target.shape == (2, 48, 48) and target.dtype == torch.float32
    assert np.array_equal(np.asarray(target[0]), ids > 0) and len(np.unique(ids)) > 2
    assert np.array_equal(np.asarray(target[1]), separation_target(ids, separation))


@pytest.mark.parametrize("cached", [False, True], ids=["in memory", "on disk"])
def test_ids_beyond_8_bits_survive_reading_and_the_cache(cached: bool, touching: np.ndarray, tmp_path: Path) -> None:
    case = {"image": str(tmp_path / "a.png"), "label": str(tmp_path / "b.png")}
    Image.fromarray(np.zeros((*touching.shape, 3), np.uint8)).save(case["image"])
    Image.fromarray(touching.astype(np.uint16)).save(case["label"])
    options = HistologyOptions(label_values="instances")
    for instances, expected in ((True, touching), (False, touching > 0)):
        reading = histology_reading(["image", "label"], options, instances)
        label = CaseCache(reading, tmp_path / "cache" if cached else None).read(case)[0]["label"]
        assert np.array_equal(label[0], expected)


@pytest.mark.parametrize("label_values", [None, "binary", "classes"])
def test_masks_that_do_not_number_their_glands_are_refused(label_values: str | None) -> None:
    with pytest.raises(ValueError, match=f"label_values is '{label_values}'. Use a data list with"):
        histology_reading(["image", "label"], HistologyOptions(label_values=label_values), instances=True)


def test_an_unknown_separation_is_refused() -> None:
    assert not separates("none")
    with pytest.raises(ValueError, match="separation is 'contours'; pass one of: none, contour"):
        histology_training(separation="contours")
    with pytest.raises(ValueError, match="There is no separation 'none'"):
        separation_target(np.zeros((4, 4)), "none")
