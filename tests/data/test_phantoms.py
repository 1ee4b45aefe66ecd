"""Tests of the phantoms: their geometry, their files, and that neither set is trivially solved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from i2net_bundle.data.phantoms import (
    ORGANS,
    PIXEL_SIZE_UM,
    ct,
    ct_phantom,
    gland_phantom,
    glands,
    make_ct_phantoms,
    make_gland_phantoms,
)

SHAPE, SPACING_MM = (48, 48, 16), (8.0, 8.0, 15.0)
SIZE = (96, 128)
MAKERS = pytest.mark.parametrize(
    ("make", "grid"),
    [(make_ct_phantoms, {"shape": SHAPE}), (make_gland_phantoms, {"size": SIZE})],
    ids=["ct", "glands"],
)


@pytest.fixture(scope="module")
def ct_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ct_phantoms(tmp_path_factory.mktemp("ct"), 3, 1, 1, SHAPE, SPACING_MM, seed=5)


@pytest.fixture(scope="module")
def gland_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gland_phantoms(tmp_path_factory.mktemp("glands"), 2, 1, 2, SIZE, seed=5)


def pairs_of(dataset_json: Path) -> list[tuple[Path, Path]]:
    contents = json.loads(dataset_json.read_text(encoding="utf-8"))
    pairs = contents["training"] + contents["validation"] + contents["test"]
    return [(dataset_json.parent / pair["image"], dataset_json.parent / pair["label"]) for pair in pairs]


def world_centroid(image: nib.Nifti1Image, inside: np.ndarray) -> np.ndarray:
    return nib.affines.apply_affine(image.affine, np.argwhere(inside).mean(0))


def best_window_dice(values: np.ndarray, truth: np.ndarray) -> float:
    """Return the best Dice of any interval of values, chosen by comparison with the label."""
    edges = np.linspace(values.min(), values.max() + 1, 100)
    hits, picked = (np.r_[0, np.histogram(v, edges)[0].cumsum()] for v in (values[truth], values))
    overlap, chosen = hits[None] - hits[:, None], picked[None] - picked[:, None]
    return float((2 * overlap / np.maximum(chosen + truth.sum(), 1)).max())


@pytest.mark.parametrize("case", range(3), ids=["RAS", "LPS", "LAS"])
class TestWorldGeometry:
    @pytest.fixture
    def image(self, ct_set: Path, case: int) -> nib.Nifti1Image:
        return nib.Nifti1Image.from_filename(pairs_of(ct_set)[case][0])

    @pytest.fixture
    def label(self, ct_set: Path, case: int) -> nib.Nifti1Image:
        return nib.Nifti1Image.from_filename(pairs_of(ct_set)[case][1])

    @pytest.fixture
    def centroids(self, label: nib.Nifti1Image) -> dict[str, np.ndarray]:
        ids = np.asarray(label.dataobj)
        return {organ: world_centroid(label, ids == i + 1) for i, organ in enumerate(ORGANS)}

    def test_header_orientation_varies_from_case_to_case(self, image: nib.Nifti1Image, case: int) -> None:
        assert "".join(nib.aff2axcodes(image.affine)) == ("RAS", "LPS", "LAS")[case]

    def test_liver_lies_on_the_right_of_the_spine_in_world_coordinates(
        self, image: nib.Nifti1Image, centroids: dict[str, np.ndarray]
    ) -> None:
        hu = np.asarray(image.dataobj)
        spine_x = world_centroid(image, hu > 300)[0]
        # RAS+: x grows towards the patient's right
        right = [centroids[organ][0] for organ in ("liver", "gallbladder", "right kidney")]
        left = [centroids[organ][0] for organ in ("spleen", "stomach", "left kidney", "aorta")]
        assert min(right) > spine_x > max(left)

    def test_kidneys_lie_behind_the_pancreas_and_the_pancreas_before_the_aorta(
        self, centroids: dict[str, np.ndarray]
    ) -> None:
        pancreas_y = centroids["pancreas"][1]
        assert all(centroids[organ][1] < pancreas_y for organ in ("left kidney", "right kidney", "aorta"))

    def test_liver_and_spleen_lie_above_the_kidneys(self, centroids: dict[str, np.ndarray]) -> None:
        assert centroids["liver"][2] > centroids["right kidney"][2]
        assert centroids["spleen"][2] > centroids["left kidney"][2]

    def test_sform_and_qform_agree_in_scanner_coordinates_in_mm(
        self, image: nib.Nifti1Image, label: nib.Nifti1Image
    ) -> None:
        for volume in (image, label):
            (sform, sform_code), (qform, qform_code) = volume.get_sform(coded=True), volume.get_qform(coded=True)
            assert sform_code == qform_code == 1
            np.testing.assert_allclose(sform, qform, atol=1e-4)
            assert volume.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_array_equal(image.affine, label.affine)

    def test_voxel_size_is_the_one_asked_for(self, image: nib.Nifti1Image) -> None:
        np.testing.assert_allclose(image.header.get_zooms(), SPACING_MM)

    def test_file_in_canonical_order_is_the_pure_phantom(
        self, image: nib.Nifti1Image, label: nib.Nifti1Image, case: int
    ) -> None:
        stored = [np.asarray(nib.as_closest_canonical(volume).dataobj) for volume in (image, label)]
        assert [volume.dtype for volume in stored] == [np.int16, np.uint8]
        for volume, expected in zip(stored, ct_phantom(case, SHAPE, SPACING_MM, seed=5), strict=True):
            np.testing.assert_array_equal(volume, expected)


def test_ct_origins_differ_between_cases(ct_set: Path) -> None:
    corners = [
        world_centroid(image, np.ones(SHAPE))
        for image in (nib.Nifti1Image.from_filename(path) for path, _ in pairs_of(ct_set))
    ]
    assert len({tuple(corner.round(1)) for corner in corners}) == 5


@pytest.mark.parametrize("index", range(10))
def test_every_organ_is_present_in_a_small_ct(index: int) -> None:
    assert np.bincount(ct_phantom(index, SHAPE)[1].ravel(), minlength=9).min() >= 10


@pytest.mark.parametrize("index", range(2))
def test_every_organ_has_a_sensible_size_in_the_default_ct(index: int) -> None:
    image, label = ct_phantom(index)
    counts = np.bincount(label.ravel())
    assert (image.shape, image.dtype, label.dtype, len(counts)) == ((96, 96, 40), np.int16, np.uint8, 9)
    assert counts.min() >= 30
    assert counts[1:].argmax() == ORGANS.index("liver")


@pytest.mark.parametrize("index", range(4))
def test_aorta_runs_through_every_slice(index: int) -> None:
    assert (ct_phantom(index, SHAPE)[1] == 1).any(axis=(0, 1)).all()


def test_a_patient_is_the_same_on_a_finer_grid() -> None:
    coarse, fine = (ct_phantom(0, shape)[1] for shape in ((48, 48, 16), (144, 144, 48)))
    # the centre of a coarse voxel is that of every third fine one
    assert (coarse == fine[1::3, 1::3, 1::3]).mean() > 0.999


def test_ct_of_unequal_sides_contains_every_organ() -> None:
    assert len(np.unique(ct_phantom(0, (100, 72, 20), (0.8, 0.8, 5.0))[1])) == 9


def test_a_ct_that_is_too_coarse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(6, 6, 3\) is too coarse for .*gallbladder"):
        ct_phantom(0, (6, 6, 3))
    with pytest.raises(ValueError, match=r"too coarse for .*stomach"):
        ct_phantom(0, (2, 2, 1))


def test_hu_are_those_of_a_portal_venous_ct() -> None:
    image, label = ct_phantom(0)
    hu = {organ: np.median(image[ndimage.binary_erosion(label == i + 1)]) for i, organ in enumerate(ORGANS)}
    assert 70 < hu["liver"] < 150
    assert hu["gallbladder"] < hu["liver"] < hu["aorta"]
    assert 12 < image[ndimage.binary_erosion(label == ORGANS.index("liver") + 1, iterations=2)].std() < 23
    assert np.median(image[:3]) < -980
    assert image.max() > 300


def test_stomach_contains_gas_in_front() -> None:
    image, label = ct_phantom(0)
    stomach = label == ORGANS.index("stomach") + 1
    gas = stomach & (image < -500)
    assert 0 < gas.sum() < stomach.sum() / 2
    assert np.argwhere(gas)[:, 1].mean() > np.argwhere(stomach)[:, 1].mean()


def test_no_hu_window_finds_an_organ_or_the_organs() -> None:
    image, label = ct_phantom(0)
    smooth = ndimage.gaussian_filter(image.astype(float), 1)
    assert best_window_dice(smooth, label > 0) < 0.8
    # the liver is the largest and the easiest
    assert max(best_window_dice(smooth, label == i + 1) for i in range(8)) < 0.85
    assert np.median([best_window_dice(smooth, label == i + 1) for i in range(8)]) < 0.4


@pytest.mark.parametrize("index", range(4))
def test_gland_instances_are_numbered_without_gaps_and_connected(index: int) -> None:
    _, instances = gland_phantom(index, SIZE)
    ids = np.unique(instances)
    assert ids.tolist() == list(range(instances.max() + 1))
    assert all(ndimage.label(instances == i, np.ones((3, 3)))[1] == 1 for i in ids[1:])


def test_glands_never_touch() -> None:
    _, instances = gland_phantom(0)
    grown = [ndimage.binary_dilation(instances == i) for i in range(1, instances.max() + 1)]
    assert len(grown) > 4
    assert np.sum(grown, axis=0).max() == 1


@pytest.mark.parametrize("index", range(3))
def test_touching_glands_touch_and_each_is_one_piece(index: int) -> None:
    _, instances = gland_phantom(index, touching=True)
    assert ndimage.label(instances)[1] < 0.8 * instances.max()
    for number in range(1, instances.max() + 1):
        assert ndimage.label(instances == number, np.ones((3, 3)))[1] == 1


def test_a_dark_rim_lies_between_glands_that_touch() -> None:
    image, instances = gland_phantom(0, touching=True)
    meets = (instances[:, 1:] != instances[:, :-1]) & (instances[:, 1:] > 0) & (instances[:, :-1] > 0)
    between = ndimage.binary_dilation(np.pad(meets, ((0, 0), (0, 1))), iterations=3) & (instances > 0)
    assert between.sum() > 100
    assert image[between].mean() < image[instances > 0].mean() - 30


def test_some_glands_are_cut_by_the_border_and_sizes_vary() -> None:
    _, instances = gland_phantom(0)
    areas = np.bincount(instances.ravel())[1:]
    assert np.concatenate([instances[0], instances[-1], instances[:, 0], instances[:, -1]]).any()
    assert areas.max() > 3 * areas.min()


def test_gland_is_a_dark_rim_around_a_pale_lumen() -> None:
    image, instances = gland_phantom(0)
    depth = ndimage.distance_transform_edt(instances)
    brightness = image.mean(-1)
    rim, lumen, stroma = brightness[(depth > 3) & (depth < 7)], brightness[depth > 25], brightness[instances == 0]
    assert rim.mean() < stroma.mean() - 20
    assert lumen.mean() > stroma.mean() + 20


@pytest.mark.parametrize("index", range(3))
def test_no_brightness_window_beats_calling_everything_gland(index: int) -> None:
    image, instances = gland_phantom(index)
    truth = instances > 0
    everything = 2 * truth.sum() / (truth.sum() + truth.size)
    assert best_window_dice(image.mean(-1), truth) < everything + 0.05


def test_stain_varies_between_images() -> None:
    colours = np.array([gland_phantom(index, SIZE)[0].reshape(-1, 3).mean(0) for index in range(6)])
    assert colours.std(0).min() > 3


def test_a_gland_image_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="Both sides must be at least 64 pixels"):
        gland_phantom(0, (63, 200))


def test_the_smallest_gland_image_contains_a_gland() -> None:
    assert all(gland_phantom(index, (64, 64))[1].any() for index in range(20))


def test_gland_files_are_named_as_in_glas_and_contain_the_pure_phantoms(gland_set: Path) -> None:
    names = [(image.name, label.name) for image, label in pairs_of(gland_set)]
    numbered = ["train_1", "train_2", "train_3", "testA_1", "testA_2"]
    assert names == [(f"{name}.png", f"{name}_anno.png") for name in numbered]
    for index, (image, label) in zip((0, 1, 2), pairs_of(gland_set), strict=False):
        for path, mode, expected in zip((image, label), ("RGB", "L"), gland_phantom(index, SIZE, seed=5), strict=True):
            with Image.open(path) as stored:
                assert stored.mode == mode
                np.testing.assert_array_equal(np.asarray(stored), expected)


def test_test_images_are_the_same_in_a_set_of_another_size(gland_set: Path, tmp_path: Path) -> None:
    other = make_gland_phantoms(tmp_path / "other", 1, 0, 1, SIZE, seed=5)
    name = Path("images/testA_1.png")
    assert (other.parent / name).read_bytes() == (gland_set.parent / name).read_bytes()


@pytest.mark.parametrize(("phantom", "grid"), [(ct_phantom, SHAPE), (gland_phantom, SIZE)], ids=["ct", "glands"])
def test_same_seed_and_index_give_the_same_bytes_and_others_do_not(phantom: Callable, grid: Any) -> None:
    first, again, *others = (phantom(i, grid, seed=seed) for i, seed in ((1, 3), (1, 3), (2, 3), (1, 4)))
    for kind in range(2):
        assert first[kind].tobytes() == again[kind].tobytes()
        assert all(first[kind].tobytes() != other[kind].tobytes() for other in others)


def test_ct_dataset_json_is_in_the_decathlon_form(ct_set: Path) -> None:
    contents = json.loads(ct_set.read_text(encoding="utf-8"))
    assert {"name", "description", "licence", "modality", "labels", "numTraining", "numTest"} < contents.keys()
    assert contents["licence"] == "CC0-1.0"
    assert contents["modality"] == {"0": "CT"}
    assert contents["labels"]["0"] == "background"
    assert tuple(contents["labels"][str(i)] for i in range(1, 9)) == ORGANS
    assert (contents["numTraining"], len(contents["validation"]), contents["numTest"]) == (3, 1, 1)
    assert contents["training"][0] == {
        "image": "./imagesTr/case_000.nii.gz",
        "label": "./labelsTr/case_000.nii.gz",
    }
    assert contents["test"] == [{"image": "./imagesTs/case_004.nii.gz", "label": "./labelsTs/case_004.nii.gz"}]


def test_gland_dataset_json_names_the_pixel_size(gland_set: Path) -> None:
    contents = json.loads(gland_set.read_text(encoding="utf-8"))
    assert contents["pixel_size_um"] == PIXEL_SIZE_UM == 0.62005
    assert contents["modality"] == {"0": "R", "1": "G", "2": "B"}
    assert contents["labels"] == {"0": "background", "1": "gland"}
    assert contents["training"][0] == {"image": "./images/train_1.png", "label": "./annotations/train_1_anno.png"}


@MAKERS
def test_a_folder_with_a_data_set_is_refused_and_left_unchanged(
    make: Callable[..., Path], grid: Any, tmp_path: Path
) -> None:
    written = make(tmp_path / "set", 1, 0, 0, **grid)
    before = written.read_bytes()
    with pytest.raises(FileExistsError, match=r"set already contains a dataset\.json\. Delete the folder"):
        make(tmp_path / "set", 1, 0, 0, seed=1, **grid)
    assert written.read_bytes() == before


@pytest.mark.parametrize(
    ("make", "module", "phantom"),
    [(make_ct_phantoms, ct, "ct_phantom"), (make_gland_phantoms, glands, "gland_phantom")],
    ids=["ct", "glands"],
)
def test_an_interrupted_set_has_no_dataset_json(
    make: Callable[..., Path], module: ModuleType, phantom: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, phantom, interrupt)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path)
    assert not (tmp_path / "dataset.json").exists()


@MAKERS
def test_the_progress_bar_is_quiet_when_not_on_a_terminal(
    make: Callable[..., Path], grid: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path, 1, 0, 0, **grid)
    assert capfd.readouterr() == ("", "")
