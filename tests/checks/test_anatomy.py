"""Labels in anatomical positions pass; swapped labels, rotated patients and impossible volumes are reported."""

from __future__ import annotations

import numpy as np
import pytest

from i2net_bundle.checks.anatomy import Organ, anatomy_findings, measure_organs
from i2net_bundle.data.phantoms.ct import ORGANS as PHANTOM_ORGANS
from i2net_bundle.data.phantoms.ct import ct_phantom
from i2net_bundle.io.findings import Finding, Severity
from i2net_bundle.labels import classes_of, label_table
from tests.checks.ct_files import CLASS_NAMES, ORGAN_AFFINE, organ_labels

CLASSES = classes_of(CLASS_NAMES)
FILE = "labels/patient.nii.gz"
LOOK = "Look at it (i2net preview), and check the numbering and the spacing."


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return organ_labels()


def findings_of(labels: np.ndarray, affine: np.ndarray = ORGAN_AFFINE, has_geometry: bool = True) -> list[Finding]:
    found = anatomy_findings(measure_organs(labels, affine), CLASSES, FILE, has_geometry)
    assert all(finding.severity is Severity.WARNING and finding.file == FILE for finding in found)
    return found


# Measuring


def test_volume_and_centre_of_a_block_are_those_worked_out_by_hand() -> None:
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[2:4, 3:6, 4:8] = 3  # 24 voxels of 2 x 2 x 3 mm are 288 mm³; centre (2.5, 4, 5.5) voxels
    affine = np.array([[-2.0, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])
    assert measure_organs(labels, affine) == {3: Organ(pytest.approx(0.288), pytest.approx((5, 12, 46.5)), False)}


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1], ids=["first", "last"])
def test_an_organ_in_the_first_or_last_slice_of_an_axis_is_cut(axis: int, end: int) -> None:
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[2:4, 2:4, 2:4] = 1
    np.moveaxis(labels, axis, 0)[end, 3, 3] = 2
    organs = measure_organs(labels, np.eye(4))
    assert (organs[1].is_cut, organs[2].is_cut) == (False, True)


def test_an_empty_label_map_has_no_organs_and_no_findings() -> None:
    empty = np.zeros((4, 4, 4), np.uint8)
    assert measure_organs(empty, np.eye(4)) == {}
    assert findings_of(empty) == []


# Sound labels


def test_organs_in_their_places_raise_no_finding(labels: np.ndarray) -> None:
    assert findings_of(labels) == []


@pytest.mark.parametrize("flips", [(-1, -1, 1), (-1, 1, 1), (1, 1, -1)], ids=["LPS", "LAS", "RAI"])
def test_the_order_of_voxels_does_not_matter_where_the_affine_tells_it(
    labels: np.ndarray, flips: tuple[int, ...]
) -> None:
    turned = labels[tuple(slice(None, None, flip) for flip in flips)]
    to_old = np.diag([*flips, 1.0])
    to_old[:3, 3] = [size - 1 if flip < 0 else 0 for flip, size in zip(flips, labels.shape, strict=True)]
    assert findings_of(turned, ORGAN_AFFINE @ to_old) == []


@pytest.mark.parametrize("index", range(4))
def test_organs_of_phantoms_raise_no_finding(index: int) -> None:
    assert CLASS_NAMES[1:] == PHANTOM_ORGANS
    assert findings_of(ct_phantom(index, (48, 48, 24), (8.0, 8.0, 10.0))[1], np.diag([8.0, 8.0, 10.0, 1.0])) == []


@pytest.mark.parametrize("organ", CLASS_NAMES[1:])
def test_an_absent_organ_raises_no_finding(labels: np.ndarray, organ: str) -> None:
    assert findings_of(np.where(labels == CLASS_NAMES.index(organ), 0, labels)) == []


@pytest.mark.parametrize(
    "slices", [slice(18, 22), slice(0, 16), slice(24, 30), slice(20, 21)], ids=["middle", "low", "high", "one"]
)
def test_organs_cut_by_a_short_scan_are_not_too_small(labels: np.ndarray, slices: slice) -> None:
    affine = ORGAN_AFFINE.copy()
    affine[2, 3] += 6 * slices.start
    assert findings_of(labels[:, :, slices], affine) == []


def test_names_that_the_table_does_not_know_are_not_judged(labels: np.ndarray) -> None:
    organs = measure_organs(labels[::-1], ORGAN_AFFINE)
    assert anatomy_findings(organs, classes_of(["background", *"abcdefgh"]), FILE) == []


def test_other_spellings_of_a_name_are_judged_by_volume() -> None:
    organs = {1: Organ(5000.0, (0.0, 0.0, 0.0), False)}
    (found,) = anatomy_findings(organs, classes_of(["background", "Kidney_L"]), FILE)
    assert found.problem == "Kidney_L of 5000 mL; the usual range is 30 to 600 mL"


def test_a_difference_within_five_millimetres_is_no_finding() -> None:
    def pair(distance_mm: float) -> list[Finding]:
        organs = {3: Organ(100.0, (distance_mm, 0, 0), False), 4: Organ(100.0, (0, 0, 0), False)}
        return anatomy_findings(organs, CLASSES, FILE)

    assert pair(4.9) == []
    assert [found.rule for found in pair(5.1)] == ["organ-position"]


def test_specks_are_not_judged_by_their_place() -> None:
    organs = {3: Organ(0.4, (50.0, 0, 0), True), 4: Organ(100.0, (0, 0, 0), False)}
    assert anatomy_findings(organs, CLASSES, FILE) == []


def test_few_organs_do_not_point_to_another_numbering(labels: np.ndarray) -> None:
    # 3 and 4 are left kidney and gallbladder in BTCV, which would hide that the kidneys are swapped
    ids = np.array([0, 0, 0, 4, 3, 0, 0, 0, 0])
    assert [found.rule for found in findings_of(ids[labels])] == ["organ-position"]


# Faults


@pytest.mark.parametrize(
    ("axis", "turned", "example"),
    [
        (0, "mirrored left to right", "right kidney 124 mm on the wrong side of left kidney"),
        (1, "lying face down (front and back swapped)", "right kidney 44 mm on the wrong side of liver"),
        (2, "upside down", "spleen 66 mm on the wrong side of left kidney"),
    ],
    ids=["mirrored", "face down", "upside down"],
)
def test_a_turned_patient_gives_one_warning_that_says_so(
    labels: np.ndarray, axis: int, turned: str, example: str
) -> None:
    (found,) = findings_of(np.flip(labels, axis))
    assert found.rule == "organ-position"
    assert found.problem.startswith(f"the patient seems {turned}: ")
    assert example in found.problem
    assert found.remedy == "Check the header's orientation, and look at it (i2net preview)."


@pytest.mark.parametrize(
    ("first", "second", "example"),
    [
        ("left kidney", "right kidney", "right kidney 124 mm on the wrong side of left kidney"),
        ("aorta", "pancreas", "aorta 4"),
    ],
    ids=["kidneys", "aorta and pancreas"],
)
def test_swapped_labels_are_named(labels: np.ndarray, first: str, second: str, example: str) -> None:
    one, other = CLASS_NAMES.index(first), CLASS_NAMES.index(second)
    ids = np.arange(len(CLASS_NAMES))
    ids[[one, other]] = other, one
    (found,) = findings_of(ids[labels])
    assert found.rule == "organ-position"
    assert found.problem.startswith("organs out of place: ")
    assert example in found.problem
    assert all(name in found.problem for name in (first, second))
    assert found.remedy == "Check the numbering of the labels, and look at it (i2net preview)."


def test_an_aorta_of_two_litres_is_named() -> None:
    # 4/3 π · 70 · 70 · 97.5 mm³ are 2001 mL
    labels = organ_labels(aorta=(70, 70, 97.5))
    labels[labels != CLASS_NAMES.index("aorta")] = 0
    (found,) = findings_of(labels)
    assert found.rule == "organ-volume"
    assert (
        found.problem
        == f"aorta of {measure_organs(labels, ORGAN_AFFINE)[1].volume_ml:.0f} mL; the usual range is 15 to 500 mL"
    )
    assert 1950 < measure_organs(labels, ORGAN_AFFINE)[1].volume_ml < 2050
    assert found.remedy == LOOK


def test_a_liver_of_five_millilitres_is_named() -> None:
    # 4/3 π · 10.2³ mm³ are 4.4 mL; on voxels of 0.15 mL, 5
    (found,) = findings_of(organ_labels(liver=(10.2, 10.2, 10.2)))
    assert found.rule == "organ-volume"
    assert found.problem == "liver of 5 mL; the usual range is 500 to 4500 mL"
    assert found.remedy == LOOK


def test_volumes_are_not_judged_where_the_spacing_is_unknown(labels: np.ndarray) -> None:
    in_voxels = np.eye(4)  # organs of some hundred voxels of 1 mm³
    assert {found.rule for found in findings_of(labels, in_voxels)} == {"organ-volume"}
    assert findings_of(labels, in_voxels, has_geometry=False) == []


def test_places_are_judged_where_the_spacing_is_unknown(labels: np.ndarray) -> None:
    (found,) = findings_of(np.flip(labels, 0), np.diag([5.0, 5.0, 5.0, 1.0]), has_geometry=False)
    assert found.problem.startswith("the patient seems mirrored left to right: ")


@pytest.mark.parametrize("has_geometry", [True, False], ids=["spacing known", "spacing unknown"])
def test_labels_in_another_numbering_are_recognised_and_it_is_named(labels: np.ndarray, has_geometry: bool) -> None:
    ids = {new: old for old, new in label_table("synapse").source_map("btcv8").items()}
    affine = ORGAN_AFFINE if has_geometry else np.diag([5.0, 5.0, 5.0, 1.0])
    *others, found = findings_of(np.array([ids[index] for index in range(9)])[labels], affine, has_geometry)
    assert others
    assert found.rule == "numbering"
    assert str(found) == (
        f"{FILE}: fits the numbering 'btcv8' better than synapse's own. Were the labels prepared elsewhere? Then "
        "prepare them with --numbering btcv8."
    )


@pytest.mark.parametrize("first", [0, 2])
def test_a_label_of_four_billion_takes_no_table_of_that_size(first: int) -> None:
    labels = np.full((4, 5, 6), first, np.uint32)
    labels[1:3, 1:3, 1:3] = 4_000_000_000
    organs = measure_organs(labels, np.eye(4))
    assert set(organs) == ({first} if first else set()) | {4_000_000_000}
    assert organs[4_000_000_000].volume_ml == pytest.approx(0.008)
    assert organs[4_000_000_000].centre_mm == (1.5, 1.5, 1.5)
