"""Implausible masks are reported: a kidney of several litres, an organ on the wrong side, an empty mask."""

from __future__ import annotations

import numpy as np
import pytest

from i2net_bundle.labels import LabelClass, label_table
from i2net_bundle.prediction.plausibility import implausible_findings

CLASSES = label_table("synapse").classes
INDEX = {item.name: number for number, item in enumerate(CLASSES)}
AFFINE = np.diag([-4.0, -4.0, 4.0, 1.0])  # indices increase to the patient's left, back and head
ML_PER_VOXEL = 0.064


def body(**corners: tuple[int, int, int, int]) -> np.ndarray:
    """A mask (100, 60, 60) of cubes: organ to its first voxel (x, y, z) and side."""
    mask = np.zeros((100, 60, 60), np.uint8)
    for name, (x, y, z, side) in corners.items():
        mask[x : x + side, y : y + side, z : z + side] = INDEX[name.replace("_", " ")]
    return mask


PLAUSIBLE = {
    "liver": (10, 20, 30, 26),  # 26³ voxels of 0.064 mL: 1125 mL
    "spleen": (75, 25, 35, 14),  # 176 mL
    "right_kidney": (25, 40, 12, 14),
    "left_kidney": (70, 40, 12, 14),
    "aorta": (50, 38, 20, 10),  # 64 mL
}


def problems(mask: np.ndarray, **options: object) -> list[tuple[str, str]]:
    return [(item.rule, item.problem) for item in implausible_findings(mask, AFFINE, CLASSES, "ct.nii.gz", **options)]


def test_plausible_organs_are_not_reported() -> None:
    assert problems(body(**PLAUSIBLE)) == []


def test_a_kidney_of_litres_is_reported_with_its_volume() -> None:
    mask = body(**PLAUSIBLE)
    mask[10:60, 2:48, 2:48] = INDEX["right kidney"]  # 50 · 46² voxels of 0.064 mL, and some of its own
    found = dict(problems(mask))
    assert found["mask-organ-volume"].startswith("implausible prediction: ")
    assert any("right kidney of 6846 mL" in problem for _, problem in problems(mask))


def test_a_spleen_of_two_millilitres_is_reported() -> None:
    mask = body(**(PLAUSIBLE | {"spleen": (75, 25, 35, 3)}))  # 27 voxels: 1.7 mL
    assert any("spleen of 2 mL" in problem for _, problem in problems(mask))


def test_an_organ_on_the_wrong_side_is_reported() -> None:
    mask = body(**(PLAUSIBLE | {"spleen": (1, 25, 35, 14), "liver": (60, 20, 30, 26)}))
    rules = {rule for rule, _ in problems(mask)}
    assert "mask-organ-position" in rules
    assert any("liver" in problem and "on the wrong side of spleen" in problem for _, problem in problems(mask))


def test_an_empty_mask_is_reported_with_the_classes() -> None:
    ((rule, problem),) = problems(np.zeros((4, 4, 4), np.uint8))
    assert rule == "mask-empty" and "nothing was predicted" in problem and "liver" in problem


def test_volumes_are_not_compared_without_a_known_spacing() -> None:
    mask = body(**(PLAUSIBLE | {"spleen": (75, 25, 35, 9)}))
    assert [rule for rule, _ in problems(mask, has_geometry=False) if rule == "mask-organ-volume"] == []


def test_a_mask_never_gets_the_advice_to_renumber_labels() -> None:
    mask = body(**PLAUSIBLE)
    turned = np.where(mask > 0, mask % 8 + 1, 0).astype(np.uint8)
    found = implausible_findings(turned, AFFINE, CLASSES, "ct.nii.gz")
    assert found and all("numbering" not in item.remedy and item.rule != "mask-numbering" for item in found)
    assert all("do not use this mask unchecked" in item.remedy for item in found)


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
def test_classes_without_expected_anatomy_are_only_checked_for_being_there(filled: bool) -> None:
    classes = [LabelClass("background", "#000000"), LabelClass("lesion", "#FF0000")]
    mask = np.full((4, 4, 4), int(filled), np.uint8)
    rules = [item.rule for item in implausible_findings(mask, AFFINE, classes, "t2.nii.gz")]
    assert rules == ([] if filled else ["mask-empty"])
