"""Values that are not Hounsfield units are detected, and CTs raise no false alarm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from i2net_bundle.checks.intensities import intensity_findings, nonfinite_findings
from i2net_bundle.data.phantoms.ct import ct_phantom
from i2net_bundle.io.findings import Finding, Severity
from tests.checks.ct_files import hu_volume

GO_ON = "If these are Hounsfield units after all, set any_intensities (--any-intensities)."
FILE = "scans/patient.nii.gz"
SHAPE, SPACING_MM = (48, 48, 24), (8.0, 8.0, 10.0)

Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def phantom() -> np.ndarray:
    return ct_phantom(0, SHAPE, SPACING_MM)[0].astype(np.float32)


def windowed(hu: np.ndarray) -> np.ndarray:
    return np.clip((hu + 125) / 400, 0, 1)


def the_finding(voxels: np.ndarray, severity: Severity = Severity.ERROR) -> Finding:
    (found,) = intensity_findings(voxels, FILE)
    assert found.severity is severity
    assert str(found).startswith(f"{FILE}: ")
    assert found.problem.endswith(f"values run from {voxels.min():g} to {voxels.max():g}") or (
        f"values run from {voxels.min():g} to {voxels.max():g}," in found.problem
    )
    return found


def metal(hu: np.ndarray, brightest: float = 30000) -> np.ndarray:
    hu = hu.copy()
    hu[20:23, 20:23, :4] = brightest
    return hu


# Faults


@pytest.mark.parametrize(
    "change",
    [
        lambda hu: hu + 1024,
        lambda hu: np.clip(hu + 1024, 0, None),
        lambda hu: (hu + 1024)[12:36, 12:36],
        lambda hu: (hu + 1024)[12:36, 12:36, 8:16].astype(np.uint16),
    ],
    ids=["whole", "clipped at 0", "without air", "small crop, unsigned"],
)
def test_hu_with_an_offset_is_told_with_its_remedy(phantom: np.ndarray, change: Change) -> None:
    found = the_finding(change(phantom))
    assert found.rule == "offset"
    assert found.problem.startswith("looks like HU + 1024: ")
    around = int(found.problem.split()[-1])  # "... and most voxels that are not air lie around 1054"
    assert 900 < around < 1200
    assert found.remedy == f"Shift it with hu_offset: -1024 (--hu-offset -1024). {GO_ON}"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (windowed, "looks normalised already, or is a label map"),
        (lambda hu: 2 * windowed(hu) - 1, "looks normalised already, or is a label map"),
        (lambda hu: (hu - hu.mean()) / hu.std(), "looks normalised already, or is a label map"),
        (lambda hu: (np.clip(hu, -200, 300) - 80) / 140, "looks normalised already, or is a label map"),
        (lambda hu: (metal(hu, 3400) - 80) / 140, "looks normalised already, or is a label map"),
        (lambda hu: np.rint(255 * windowed(hu)), "looks windowed to 8 bits"),
    ],
    ids=["0 to 1", "-1 to 1", "z-scores", "z-scores of the body", "z-scores not clipped", "0 to 255"],
)
def test_normalised_images_are_refused(phantom: np.ndarray, change: Change, problem: str) -> None:
    found = the_finding(change(phantom))
    assert found.rule == "normalised"
    assert found.problem.startswith(f"{problem}: ")
    assert found.remedy == f"Use the CT in Hounsfield units. {GO_ON}"


def mr_like(share_of_air: float, brightest: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    values = rng.gamma(2, 1, (24, 24, 12))
    values[rng.random(values.shape) < share_of_air] *= 0.02
    return np.rint(values * brightest / values.max())


@pytest.mark.parametrize(
    "voxels",
    [
        mr_like(0.0, 1500),
        mr_like(0.5, 1500),
        mr_like(0.3, 4000),
        mr_like(0.3, 600),
    ],
    ids=["all tissue", "half air", "bright", "dim"],
)
def test_mr_is_refused(voxels: np.ndarray) -> None:
    found = the_finding(voxels)
    assert found.rule == "not-ct"
    assert found.problem.startswith("does not look like CT: ")
    assert found.problem.endswith("and no voxel is as dark as air or fat")
    remedy = "If it is MR, name its channel (in the data list, or --channels MR); otherwise use a CT."
    assert found.remedy == f"{remedy} {GO_ON}"


def test_values_stretched_to_16_bits_are_refused(phantom: np.ndarray) -> None:
    assert the_finding((phantom + 1024) / 4096 * 65535).rule == "not-ct"


def test_one_value_alone_is_refused() -> None:
    (found,) = intensity_findings(np.full((4, 4, 4), -1024), FILE)
    assert str(found) == f"{FILE}: contains one value, -1024. Use the original scan."


def test_padding_alone_is_refused() -> None:
    voxels = np.where(np.arange(64) % 2, -2000, -3024).reshape(4, 4, 4)
    (found,) = intensity_findings(voxels, FILE)
    assert str(found) == (f"{FILE}: contains only padding: values run from -3024 to -2000. Use the original scan.")


def test_a_crop_without_air_or_fat_passes_with_a_warning() -> None:
    voxels = np.random.default_rng(0).normal(40, 15, (20, 20, 10)).round()
    assert voxels.min() < 0
    found = the_finding(voxels, Severity.WARNING)
    assert found.problem.startswith("contains neither air nor fat: ")
    assert found.remedy == "Pass the whole scan; the network was not trained on such crops."


def test_a_scan_with_little_soft_tissue_passes_with_a_warning(phantom: np.ndarray) -> None:
    found = the_finding(np.where(phantom > -500, phantom * 2 + 600, phantom), Severity.WARNING)
    assert found.rule == "intensities"
    assert "of the voxels that are not air lie between -200 and 300 HU" in found.problem
    assert found.remedy == "Check that it is a CT of the body, in Hounsfield units."


def test_voxels_without_a_finite_value_are_counted() -> None:
    voxels = hu_volume().astype(np.float32)
    voxels[0, 0, :3], voxels[1, 0, 0], voxels[2, 0, 0] = np.nan, np.inf, -np.inf
    (found,) = nonfinite_findings(voxels, FILE)
    assert found.severity is Severity.ERROR
    assert str(found) == (
        f"{FILE}: contains 3 NaN and 2 infinite voxels of 960. Convert the scan again, or fill them with "
        "fill_nonfinite: -1024 (--fill-nonfinite -1024)."
    )


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_finite_voxels_pass(dtype: type) -> None:
    assert nonfinite_findings(hu_volume().astype(dtype), FILE) == []


# No false alarms


@pytest.mark.parametrize("index", range(4))
def test_phantoms_pass(index: int) -> None:
    assert intensity_findings(ct_phantom(index, SHAPE, SPACING_MM)[0], FILE) == []


def noisy(hu: np.ndarray, sd: float) -> np.ndarray:
    return np.clip(hu + np.random.default_rng(1).normal(0, sd, hu.shape), -1024, 3071).round()


@pytest.mark.parametrize(
    "change",
    [
        lambda hu: hu[12:36, 12:36],
        lambda hu: hu[8:40, 10:38],
        lambda hu: hu[20:32, 20:32, 10:18],
        lambda hu: hu[:, :, 12],
        lambda hu: hu[:, :, -4:],
        lambda hu: noisy(hu, 60),
        lambda hu: noisy(hu, 150),
        lambda hu: np.clip(hu, -1000, 1000),
        lambda hu: np.clip(hu, -200, 300),
        lambda hu: -1000 + 0.9 * (hu + 1000),
        metal,
        lambda hu: np.pad(hu, ((40, 40), (40, 40), (0, 0)), constant_values=-1024),
        lambda hu: hu.astype(np.int16),
    ],
    ids=[
        "centre",
        "body",
        "small crop",
        "one slice",
        "lung",
        "noise",
        "much noise",
        "clipped",
        "windowed in HU",
        "miscalibrated",
        "metal",
        "mostly air",
        "integers",
    ],
)
def test_variants_of_a_ct_pass(phantom: np.ndarray, change: Change) -> None:
    assert intensity_findings(change(phantom), FILE) == []


@pytest.mark.parametrize("padding", [-2000, -3024])
@pytest.mark.parametrize("share", [0.2, 0.6])
def test_padding_outside_the_scanner_circle_passes(phantom: np.ndarray, padding: int, share: float) -> None:
    padded = phantom.copy()
    padded[: int(share * len(padded))] = padding
    assert intensity_findings(padded, FILE) == []
    assert intensity_findings(np.where(padded == padding, padding, phantom), FILE) == []


@pytest.mark.parametrize("padding", [3072, 30000])
def test_padding_brighter_than_tissue_is_a_warning(phantom: np.ndarray, padding: int) -> None:
    padded = phantom.copy()
    padded[:3] = padding
    (found,) = intensity_findings(padded, FILE)
    assert found.severity is Severity.WARNING
    assert found.problem == f"has {padding} HU in a corner of a slice, more than any tissue: probably padding"


def test_numbers_above_those_of_16_signed_bits_are_refused(phantom: np.ndarray) -> None:
    (found,) = intensity_findings(metal(phantom, 62512), FILE)
    assert found.severity is Severity.ERROR
    assert found.problem == "contains values up to 62512 HU: padding or negative numbers stored as unsigned"


def test_padding_does_not_hide_another_fault(phantom: np.ndarray) -> None:
    mr = mr_like(0.3, 1500)
    mr[:4] = -2000
    assert the_finding(mr).rule == "not-ct"
