"""Statistics of small masks, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from i2net_bundle.prediction.memory import image_bytes, volume_bytes
from i2net_bundle.prediction.statistics import class_shares, flat_rows, gland_statistics, organ_statistics


def test_organs_have_volumes_densities_and_extents() -> None:
    mask = np.zeros((5, 6, 7), np.uint8)
    mask[1:3, 2:4, 3:6] = 2  # 12 voxels of 2×3×4 mm
    mask[0, 0, 0] = 1
    hu = np.where(mask == 2, 50, -1000).astype(np.int16)
    hu[1, 2, 3] = 62
    statistics = organ_statistics(mask, hu, np.diag([2.0, -3.0, 4.0, 1.0]), ["background", "a", "b", "c"])
    assert statistics.keys() == {"a", "b"}
    assert statistics["b"]["volume_ml"] == pytest.approx(12 * 24 / 1000)
    assert statistics["b"]["mean_hu"] == 51  # 50 and once 62
    assert statistics["b"]["bounding_box"] == [[1, 2], [2, 3], [3, 5]]
    assert [statistics[name]["touches_border"] for name in ("a", "b")] == [True, False]
    assert flat_rows("x", statistics)[1]["k_last"] == 5


def test_without_a_spacing_there_is_no_volume() -> None:
    mask = np.ones((2, 2, 2), np.uint8)
    assert "volume_ml" not in organ_statistics(mask, mask, np.eye(4), ["background", "a"], has_geometry=False)["a"]


def test_glands_are_counted_and_measured() -> None:
    mask = np.zeros((60, 60), np.uint8)
    mask[5:25, 5:25] = 1  # 400 pixels, with a lumen that counts
    mask[10:12, 10:12] = 0
    mask[40:60, 40:60] = 1  # cut by the border
    mask[0, 59] = 1  # a speck
    statistics = gland_statistics(mask, um_per_px=0.5)
    assert (statistics["count"], statistics["area_px"], statistics["area_um2"]) == (2, [400, 400], [100.0, 100.0])
    assert statistics["touching_border"] == 1
    assert statistics["share"] == pytest.approx((400 - 4 + 400 + 1) / 3600, abs=1e-6)
    assert flat_rows("x", statistics)[0]["total_area_px"] == 800


def test_the_total_of_areas_has_the_digits_of_the_areas() -> None:
    (row,) = flat_rows("x", {"area_px": [1, 2], "area_um2": [0.1, 0.2]})  # whose sum is 0.30000000000000004
    assert (row["total_area_px"], row["total_area_um2"]) == (3, 0.3)


def test_shares_of_classes_sum_to_one() -> None:
    assert class_shares(np.array([[0, 2], [2, 2]], np.uint8), ["a", "b", "c"]) == {"a": 0.25, "b": 0.0, "c": 0.75}


def test_memory_grows_with_the_image_and_the_kept_maps() -> None:
    assert volume_bytes((512, 512, 150), 24 * 224 * 224, 1) == 512 * 512 * 150 * 14 + 24 * 224 * 224 * 2100
    assert image_bytes(100, 0, 2) - image_bytes(100, 0, 1) == 100


def test_channels_without_a_unit_are_measured_under_their_own_names() -> None:
    mask = np.zeros((3, 3, 3), np.uint8)
    mask[1] = 1
    t2 = np.where(mask == 1, 1234.5, 0)
    adc = np.where(mask == 1, 0.00123456, 0)
    values = np.stack([t2, adc])
    statistics = organ_statistics(mask, values, np.eye(4), ["background", "tumour"], channels=("T2", "ADC"))["tumour"]
    assert {"mean_T2", "sd_T2", "mean_ADC", "sd_ADC"} <= statistics.keys()
    assert (statistics["mean_T2"], statistics["mean_ADC"]) == (1234, 0.001235)
    assert "mean_hu" not in statistics


def test_repeated_channel_names_get_a_number() -> None:
    mask = np.ones((2, 2, 2), np.uint8)
    statistics = organ_statistics(mask, np.stack([mask, mask]), np.eye(4), ["background", "a"], channels=("CT", "CT"))
    assert {"mean_hu_1", "mean_hu_2"} <= statistics["a"].keys()


def test_an_image_with_another_number_of_channels_is_refused() -> None:
    mask = np.ones((2, 2, 2), np.uint8)
    with pytest.raises(ValueError, match="The image has 1 channels, but the names are T2, ADC"):
        organ_statistics(mask, mask, np.eye(4), ["background", "a"], channels=("T2", "ADC"))
