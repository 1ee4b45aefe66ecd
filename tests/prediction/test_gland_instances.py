"""Glands as instances: touching glands are divided, holes filled, specks dropped, and no tile leaves a seam."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn

from i2net_bundle.data.phantoms.glands import gland_phantom
from i2net_bundle.metrics.objects import find_glands, score_objects
from i2net_bundle.prediction import SaveInstancesd, SeparateGlandsd, WholeImageInferer, gland_separator
from i2net_bundle.prediction import predictor as predictor_module
from i2net_bundle.prediction.case_files import Extras, files_of_case, write_prediction
from i2net_bundle.prediction.ensemble import AveragedNetwork, Readout
from i2net_bundle.prediction.gland_instances import GlandSeparator, parts_of
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.transforms.separation_targets import SEPARATIONS, separation_target
from i2net_bundle.workflow.run_records import NetworkRecord, RunRecord, write_record


@pytest.fixture(scope="module")
def phantom() -> tuple[np.ndarray, np.ndarray]:
    """Image and ids of ten glands that form four connected parts."""
    image, ids = gland_phantom(0, touching=True)
    assert ids.max() == 10 and find_glands(ids > 0).max() == 4
    return image, ids


@pytest.mark.parametrize("separation", SEPARATIONS)
def test_glands_that_touch_are_told_apart_by_their_own_target(
    separation: str, phantom: tuple[np.ndarray, np.ndarray]
) -> None:
    ids = phantom[1]
    found = GlandSeparator(separation)(ids > 0, separation_target(ids, separation))
    divided, connected = score_objects(found, ids), score_objects(find_glands(ids > 0), ids)
    assert connected.f1 < 0.7 and divided.f1 == 1
    assert divided.dice > 0.97 > connected.dice


@pytest.mark.parametrize("separation", SEPARATIONS)
def test_dividing_loses_no_pixel_of_the_mask_and_adds_none_but_holes(
    separation: str, phantom: tuple[np.ndarray, np.ndarray]
) -> None:
    ids = phantom[1]
    generator = np.random.default_rng(0)
    mask = (ids > 0) & (generator.random(ids.shape) < 0.9)
    mask[::7] = False  # parts that share corners, and holes
    mask[np.arange(200), np.arange(200)] = True
    noisy = separation_target(ids, separation) * generator.uniform(0.5, 1, ids.shape)
    found = GlandSeparator(separation, min_area=0)(mask, noisy)
    assert (found[mask] > 0).all() and (find_glands(mask, 0)[found > 0] > 0).all()
    assert np.array_equal(np.unique(found), np.arange(found.max() + 1))


@pytest.mark.parametrize("separation", SEPARATIONS)
def test_the_rim_of_a_mask_beyond_its_contours_is_no_gland(separation: str) -> None:
    _, ids = gland_phantom(0)
    reach = 3 + 2  # pixels around glands: the contours, and a rim of two pixels beyond them
    mask = ndimage.distance_transform_edt(ids == 0) <= reach
    assert find_glands(mask).max() < ids.max()  # so that glands touch
    found = GlandSeparator(separation)(mask, separation_target(ids, separation))
    assert score_objects(found, ids).f1 == 1


def test_a_lumen_outside_the_mask_belongs_to_its_gland_and_stroma_between_glands_to_none() -> None:
    ids = np.zeros((140, 140), np.int32)  # a frame of four glands
    ids[10:130, 10:40], ids[10:130, 100:130], ids[10:40, 40:100], ids[100:130, 40:100] = 1, 2, 3, 4
    mask = ids > 0
    mask[60:70, 21:29] = False  # a lumen in the first
    found = GlandSeparator("contour", min_area=50)(mask, separation_target(ids, "contour"))
    assert score_objects(found, ids).f1 == 1
    assert found[65, 25] == found[12, 12] > 0
    assert found[70, 70] == 0


def test_a_gland_without_a_marker_is_kept_whole_and_specks_are_dropped() -> None:
    mask = np.zeros((60, 60), bool)
    mask[5:30, 5:30] = mask[40:44, 40:44] = True
    everywhere = np.ones(mask.shape)
    found = GlandSeparator("contour", min_area=17)(mask, everywhere)
    assert found.max() == 1 and (found > 0).sum() == 25 * 25
    assert GlandSeparator("contour", min_area=16)(mask, everywhere).max() == 2
    assert GlandSeparator("contour")(np.zeros((9, 9), bool), np.zeros((9, 9))).max() == 0


def test_what_lies_in_a_lumen_is_no_gland_of_its_own() -> None:
    mask = np.zeros((60, 60), bool)
    mask[5:55, 5:55] = True
    mask[10:50, 10:50] = False
    mask[20:40, 20:40] = True
    found = GlandSeparator("contour")(mask, np.ones(mask.shape))
    assert found.max() == 1 and (found > 0).sum() == 50 * 50


def test_the_parts_of_a_mask_are_its_connected_parts() -> None:
    mask = np.random.default_rng(0).random((40, 50)) < 0.4
    whole = np.zeros(mask.shape, int)
    for box, part in parts_of(mask):
        assert part.any(axis=0).all() and part.any(axis=1).all()
        whole[box] += part
    assert np.array_equal(whole, mask)
    assert len(list(parts_of(mask))) == find_glands(mask, 0).max() or mask.sum() != (find_glands(mask, 0) > 0).sum()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"separation": "contours"}, "separation is 'contours'"),
        ({"separation": "contour", "threshold": 1.0}, "threshold must be between 0 and 1, got 1.0"),
        ({"separation": "contour", "min_area": -1}, "min_area must be 0 pixels or more, got -1"),
        ({"separation": "contour", "min_marker": -5}, "min_marker must be 0 pixels or more, got -5"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gland_separator(**settings)


def test_a_network_that_does_not_separate_has_no_separator() -> None:
    assert gland_separator("none") is None
    pred = torch.ones(1, 4, 4, dtype=torch.uint8)
    assert SeparateGlandsd("pred")({"pred": pred})["pred"] is pred


def test_maps_of_other_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        GlandSeparator("contour")(np.ones((4, 4)), np.ones((4, 5)))


class FromColours(nn.Module):
    """A network of two channels that reads both from the image: gland from red, contour from green."""

    def forward(self, image: Tensor) -> Tensor:
        return 4 * image[:, :2]


def painted(ids: np.ndarray, separation: str = "contour") -> np.ndarray:
    """An image (H, W, 3) from which `FromColours` reads the glands and their contours."""
    target = np.stack([ids > 0, separation_target(ids, separation), np.zeros(ids.shape)], axis=-1)
    return (40 + 200 * target).astype(np.uint8)


def test_flips_and_several_networks_keep_both_channels_apart() -> None:
    image = torch.randn(1, 3, 8, 8)
    one = Readout(2, separates=True)(AveragedNetwork([FromColours()], separates=True)(image))
    network = AveragedNetwork([FromColours(), FromColours()], flips=True, variance=True, separates=True)
    several = Readout(2, variance=True, probabilities=True, uncertainty=True, separates=True)
    maps = dict(zip(several.names, several(network(image))[0], strict=True))
    assert torch.equal(maps["class"], one[0, 0])
    assert torch.allclose(maps["separation"].float(), one[0, 1].float(), atol=2e-3)
    assert torch.allclose(maps["probability_1"].float(), (4 * image[0, 0]).sigmoid(), atol=2e-3)
    assert (maps["variance"] < 1e-3).all()  # all views agree


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, phantom: tuple[np.ndarray, np.ndarray]) -> Path:
    """Weights whose record says that they separate glands by contours, and an image to read the glands from."""
    folder = tmp_path_factory.mktemp("separating")
    network = {"num_learners": 1, "in_channels": 3, "out_channels": 2}
    record = RunRecord(
        task="histology",
        network=NetworkRecord("i2net_bundle.networks.glas_i2net", network),
        label_values="instances",
        divisor=32,
        training={"separation": "contour"},
    )
    write_record(record, folder)
    from i2net_bundle.networks import glas_i2net

    torch.manual_seed(0)
    torch.save(glas_i2net(**network).state_dict(), folder / "model.pt")
    Image.fromarray(painted(phantom[1])).save(folder / "glands.png")
    return folder


@pytest.fixture
def predictor(trained: Path) -> Predictor:
    """A predictor of these weights, with `FromColours` in place of the network."""
    found = Predictor(trained / "model.pt", device="cpu")
    found.network.networks = nn.ModuleList([FromColours()])
    return found


def test_prediction_needs_no_option_to_divide_glands(
    predictor: Predictor, trained: Path, phantom: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    prediction = predictor.predict(trained / "glands.png")
    assert prediction.instances is not None
    assert score_objects(prediction.instances, phantom[1]).f1 == 1
    assert np.array_equal(prediction.mask, phantom[1] > 0)  # the mask is that of the network
    assert prediction.statistics["count"] == 10 and len(prediction.statistics["solidity"]) == 10

    written = write_prediction(prediction, tmp_path, Extras(pictures=False))
    names = {path.name for path in written}
    assert names == {"glands_mask.png", "glands_instances.png", "glands_glands.csv", "glands.geojson"}
    assert set(written) == set(files_of_case(tmp_path, "glands"))
    with Image.open(tmp_path / "glands_instances.png") as image:
        assert image.mode == "I;16" and np.array_equal(np.asarray(image), prediction.instances)
    with (tmp_path / "glands_glands.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["area_px"]) for row in rows] == np.bincount(prediction.instances.ravel())[1:].tolist()
    features = json.loads((tmp_path / "glands.geojson").read_text())["features"]
    assert len(features) == 10
    for number, feature in enumerate(features, 1):
        assert feature["properties"]["measurements"]["Gland id"] == number
        assert np.array_equal(drawn(feature["geometry"], phantom[1].shape), prediction.instances == number)


def drawn(geometry: dict[str, Any], shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres a polygon encloses, by the crossings of its edges to the left of each pixel."""
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    crossings = np.zeros((shape[0], shape[1] + 1), int)
    for ring in (ring for polygon in polygons for ring in polygon):
        for (x, y), (_, other) in itertools.pairwise(ring):
            crossings[min(y, other) : max(y, other), x] += 1
    return crossings.cumsum(axis=1)[:, :-1] % 2 == 1


def test_tiles_leave_no_seam_in_a_gland(predictor: Predictor, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = predictor.predict(trained / "glands.png")
    monkeypatch.setattr(predictor_module, "TILED_ABOVE_PX", 1000)
    monkeypatch.setattr(predictor_module, "CORE", 64)
    predictor.inferer.tile_margin = 32
    cores: list[int] = []
    original = predictor_module.infer_tiles
    monkeypatch.setattr(
        predictor_module, "infer_tiles", lambda *args, **options: cores.append(1) or original(*args, **options)
    )
    in_tiles = predictor._predict_tiles(
        lambda rows, cols: np.asarray(Image.open(trained / "glands.png"))[rows, cols],
        whole.mask.shape,
        None,
        trained / "glands.png",
        "glands",
        [],
        core=64,
    )
    assert cores == [1]
    assert np.array_equal(in_tiles.instances, whole.instances)
    assert in_tiles.glands == whole.glands


def test_weights_of_different_separations_are_not_averaged(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "other")
    record = json.loads((trained / "settings.json").read_text())
    record["training"]["separation"] = "distance"
    (tmp_path / "other" / "settings.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"separates glands by 'contour'; .* by 'distance'"):
        Predictor([trained / "model.pt", tmp_path / "other" / "model.pt"], device="cpu")


def test_another_separation_than_that_of_the_weights_is_refused(trained: Path) -> None:
    with pytest.raises(ValueError, match='was trained with separation "contour", here "none"'):
        Predictor(trained / "model.pt", device="cpu", overrides={"separation": "none"})


def test_the_inferer_and_its_postprocessing_give_the_same_instances(
    predictor: Predictor, trained: Path, tmp_path: Path
) -> None:
    ready = predictor.preprocessing({"image": str(trained / "glands.png")})
    inferer = WholeImageInferer(divisor=32, separates=True)
    item = {**ready, "pred": inferer(ready["image"][None], FromColours())[0]}
    split = SeparateGlandsd("pred", GlandSeparator("contour"))(item)
    expected = predictor.predict(trained / "glands.png")
    assert split["pred"].shape == (1, *expected.mask.shape) and split["pred"].dtype == torch.uint8
    assert np.array_equal(np.asarray(split["pred"])[0], expected.mask)
    assert np.array_equal(np.asarray(split["instances"])[0], expected.instances)
    SaveInstancesd(tmp_path)(split)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "glands_instances.png")), expected.instances)
    with pytest.raises(FileExistsError, match=r"glands_instances\.png exists"):
        SaveInstancesd(tmp_path)(split)
    assert "instances" not in SeparateGlandsd("pred")(item)
