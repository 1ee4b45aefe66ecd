"""Predictions equal those of `monai.bundle run`: the same logits and masks, from files and arrays."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image

import i2net_bundle
from i2net_bundle.data.phantoms import make_ct_phantoms, make_gland_phantoms
from i2net_bundle.networks import glas_i2net, synapse_i2net
from i2net_bundle.prediction import WholeImageInferer
from i2net_bundle.prediction import predictor as predictor_module
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.tasks import TASKS
from i2net_bundle.workflow.config_files import config_files
from tests.checks.ct_files import hu_volume, save

SIZE = [32, 32]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of both tasks, and weights that tell classes apart at random."""
    root = tmp_path_factory.mktemp("predictor")
    make_ct_phantoms(root / "ct", 1, 0, 1, shape=(40, 36, 8), spacing_mm=(9, 9, 20))
    make_gland_phantoms(root / "histology", 1, 0, 1, size=(96, 128))
    for name, make in (("ct", synapse_i2net), ("histology", glas_i2net)):
        torch.manual_seed(0)
        network = make()
        torch.nn.init.normal_(network.head.conv.weight, std=3)
        torch.save(network.state_dict(), root / f"{name}.pt")
    return root


def images(folder: Path, task: str) -> Path:
    return folder / task / ("imagesTs" if task == "ct" else "images")


def options(task: str) -> dict[str, Any]:
    return {"overrides": {"image_size": SIZE}} if task == "ct" else {}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["ct", "histology"])
def test_logits_and_masks_are_those_of_the_bundle(task: str, folder: Path, tmp_path: Path) -> None:
    weights = folder / f"{task}.pt"
    settings = {"image_size": SIZE} if task == "ct" else {}
    workflow = ConfigWorkflow(
        config_files("inference.json", *TASKS[task].overlays),
        workflow_type="infer",
        dataset_dir=str(images(folder, task)),
        output_dir=str(tmp_path),
        weights=str(weights),
        device="cpu",
        **settings,
    )
    workflow.initialize()
    logits: dict[str, list[torch.Tensor]] = {"bundle": [], "predictor": []}
    network = workflow.parser.get_parsed_content("network")
    network.register_forward_hook(lambda _m, _i, output: logits["bundle"].append(output.clone()))
    workflow.run()

    predictor = Predictor(weights, task, device="cpu", **options(task))
    predictor.network.networks[0].register_forward_hook(
        lambda _m, _i, output: logits["predictor"].append(output.clone())
    )
    for image in sorted(images(folder, task).iterdir()):
        prediction = predictor.predict(image)
        mask = tmp_path / (image.name.split(".")[0] + ("_mask.nii.gz" if task == "ct" else "_mask.png"))
        written = np.asarray(nib.load(mask).dataobj) if task == "ct" else np.asarray(Image.open(mask)) // 255
        assert len(np.unique(written)) > 1
        np.testing.assert_array_equal(prediction.mask, written)
    assert len(logits["bundle"]) == len(logits["predictor"]) > 0
    for ours, theirs in zip(logits["predictor"], logits["bundle"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_an_array_is_predicted_like_its_file(folder: Path) -> None:
    (path,) = images(folder, "ct").iterdir()
    image = nib.load(path)
    weights = folder / "ct.pt"
    of_file = i2net_bundle.predict(path, weights, **options("ct"))
    array = np.asarray(image.dataobj)
    of_array = i2net_bundle.predict(array, weights, affine=image.affine, **options("ct"))
    np.testing.assert_array_equal(of_array.mask, of_file.mask)
    assert of_array.statistics == of_file.statistics
    with pytest.raises(ValueError, match="The volume has no spacing"):
        i2net_bundle.predict(array, weights)


def test_the_picture_of_a_volume_names_the_patients_sides(folder: Path) -> None:
    (path,) = images(folder, "ct").iterdir()
    assert i2net_bundle.predict(path, folder / "ct.pt", **options("ct")).letters == ("R", "L")


def test_uncertainty_and_probabilities_lie_on_the_files_grid(folder: Path) -> None:
    (path,) = images(folder, "ct").iterdir()
    predictor = Predictor([folder / "ct.pt"] * 2, uncertainty=True, probabilities=True, **options("ct"))
    prediction = predictor.predict(path)
    assert {values.shape for values in prediction.maps.values()} == {nib.load(path).shape}
    every = np.stack([prediction.maps[f"probability_{index}"] for index in range(9)]).astype(np.float32)
    of_mask = np.take_along_axis(every, prediction.mask[None].astype(int), axis=0)[0]
    assert (every.max(axis=0) - of_mask).max() <= 1e-3  # alike in half precision
    assert prediction.maps["entropy"].min() >= 0 and prediction.maps["entropy"].max() <= 1.001
    assert prediction.maps["variance"].max() == 0  # twice the same weights


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "amp"), [("png", False), ("tif", False), ("png", True)])
def test_large_images_are_predicted_in_tiles(
    ending: str, amp: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (90, 150, 3), np.uint8)
    path = tmp_path / f"large.{ending}"
    if ending == "tif":
        tifffile.imwrite(path, pixels, tile=(32, 32), compression="deflate")
    else:
        Image.fromarray(pixels).save(path)
    predictor = Predictor(folder / "histology.pt", "histology", overrides={"amp": amp}, uncertainty=True)
    whole = predictor.predict(path)
    monkeypatch.setattr(predictor_module, "TILED_ABOVE_PX", 1000)
    tiled = predictor.predict(path)
    np.testing.assert_array_equal(tiled.mask, whole.mask)
    np.testing.assert_allclose(tiled.maps["entropy"], whole.maps["entropy"], atol=2e-3)
    assert tiled.statistics == whole.statistics


def test_the_picture_of_a_long_strip_has_its_masks_pixels(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor_module, "TILED_ABOVE_PX", 1000)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (10, 7000, 3), np.uint8)).save(tmp_path / "strip.png")
    prediction = Predictor(folder / "histology.pt", "histology").predict(tmp_path / "strip.png")
    assert prediction.picture is not None
    image, mask = prediction.picture  # every seventh pixel; by the rows alone it would be every fifth
    assert image.shape == (3, 2, 1000)
    np.testing.assert_array_equal(mask, prediction.mask[::7, ::7])


def test_a_volume_too_large_for_the_gpu_is_segmented_on_the_cpu_and_the_next_one_on_the_gpu(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    image = save(tmp_path / "ct.nii.gz", hu_volume((20, 18, 3)))
    predictor = Predictor(folder / "ct.pt", "ct", **options("ct"))
    expected = predictor.predict(image).mask
    infer, used, moved = predictor._infer, [], []

    def infer_on_a_full_gpu(ready: Any) -> Any:
        used.append(predictor.device.type)
        if used == ["cuda"]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return infer(ready)

    monkeypatch.setattr(predictor, "_infer", infer_on_a_full_gpu)
    monkeypatch.setattr(predictor.network, "to", lambda device: moved.append(str(device)))
    predictor.device, predictor.network.max_batch = torch.device("cuda:0"), 1
    with caplog.at_level("WARNING"):
        np.testing.assert_array_equal(predictor.predict(image).mask, expected)
    assert "cuda:0: CUDA out of memory. This image is segmented on the CPU." in caplog.messages
    assert (used, moved) == (["cuda", "cpu"], ["cpu", "cuda:0"])
    assert (str(predictor.device), predictor.network.max_batch) == ("cuda:0", None)

    def move_to_a_gpu_that_others_filled(device: torch.device) -> None:
        if device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(predictor.network, "to", move_to_a_gpu_that_others_filled)
    used.clear()
    np.testing.assert_array_equal(predictor.predict(image).mask, expected)
    assert str(predictor.device) == "cpu"
    monkeypatch.setattr(predictor, "_infer", lambda ready: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        predictor.predict(image)


def test_an_image_too_large_for_one_pass_is_segmented_in_tiles_with_the_same_mask(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)).save(tmp_path / "image.png")
    predictor = Predictor(folder / "histology.pt", "histology", device="cpu")
    expected = predictor.predict(tmp_path / "image.png").mask

    def infer_without_memory(*_: Any) -> Any:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(WholeImageInferer, "__call__", infer_without_memory)
    np.testing.assert_array_equal(predictor.predict(tmp_path / "image.png").mask, expected)
    assert "image: the image does not fit into memory in one pass: continuing with tiles" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 4.5 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["numpy", "torch"],
)
def test_a_volume_too_large_for_the_computer_is_an_error_with_advice(
    error: Exception, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = save(tmp_path / "ct.nii.gz", hu_volume((20, 18, 3)))
    predictor = Predictor(folder / "ct.pt", "ct", device="cpu", **options("ct"))

    def read(_: Any) -> Any:
        raise error

    monkeypatch.setattr(predictor.preprocessing, "read", read)
    with pytest.raises(torch.OutOfMemoryError, match=r"ct\.nii\.gz: does not fit into memory.*leave out --flips"):
        predictor.predict(image)


@pytest.mark.parametrize(
    ("name", "cases", "message"),
    [
        ("CT phantoms", 8, "trained on CT phantoms, 8 cases, which are synthetic images"),
        ("BTCV", 1, "trained on BTCV, 1 case only. Expect wrong masks for other images"),
        ("BTCV", 18, "trained on BTCV, 18 cases"),
        (None, None, "its record does not name the training data"),
    ],
    ids=["phantoms", "one case", "many cases", "no record"],
)
def test_the_training_data_of_the_weights_are_reported(
    name: str | None, cases: int | None, message: str, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(folder / "ct.pt", tmp_path / "model.pt")
    record = {"schema": 2, "task": "ct", "image_size": SIZE, "trained_on": name, "training_cases": cases}
    (tmp_path / "settings.json").write_text(json.dumps(record))
    with caplog.at_level("INFO"):
        predictor = Predictor(tmp_path / "model.pt")
    assert message in caplog.text
    prediction = predictor.predict(save(tmp_path / "ct.nii.gz", hu_volume((20, 18, 3))))
    assert prediction.trained_on == (f"{name}, {cases} case{'s' * (cases > 1)}" if cases else None)


def test_findings_in_an_array_name_the_array(folder: Path) -> None:
    array, weights = np.full((20, 18, 3), 40, np.int16), folder / "ct.pt"
    array[:5] = -1000
    with pytest.raises(ValueError, match=r"^the array: looks like HU \+ 1024"):
        i2net_bundle.predict(array + np.int16(1024), weights, spacing=(2, 2, 3), **options("ct"))
    array[5:10] = -90
    prediction = i2net_bundle.predict(array, weights, spacing=(0.01, 2, 3), **options("ct"))
    assert [(item.rule, item.file) for item in prediction.findings] == [("spacing", "the array")]


class TestErrors:
    @pytest.mark.parametrize(
        ("geometry", "message"),
        [
            ({"spacing": (0, 3, 3)}, r"The spacing is \(0, 3, 3\)\. Pass three numbers above 0, in mm"),
            ({"affine": np.zeros((4, 4))}, "is not valid"),
            ({"affine": np.eye(3)}, "is not valid"),
        ],
        ids=["spacing of 0", "degenerate affine", "another shape"],
    )
    def test_an_invalid_geometry_is_refused(self, geometry: dict[str, Any], message: str, folder: Path) -> None:
        with pytest.raises(ValueError, match=message):
            i2net_bundle.predict(np.zeros((4, 4, 2), np.int16), folder / "ct.pt", **geometry)

    def test_a_file_or_a_2d_image_is_refused_with_a_geometry(self, folder: Path) -> None:
        with pytest.raises(ValueError, match=r"ct\.nii\.gz is a file, which records its own"):
            i2net_bundle.predict("ct.nii.gz", spacing=(1, 1, 1))
        with pytest.raises(ValueError, match="spacing and affine are for volumes"):
            image = np.zeros((32, 32, 3), np.uint8)
            i2net_bundle.predict(image, folder / "histology.pt", "histology", spacing=(1, 1, 1))

    def test_an_unknown_setting_suggests_the_nearest_one(self, folder: Path) -> None:
        with pytest.raises(ValueError, match=r"'imagesize' .did you mean 'image_size'"):
            Predictor(folder / "ct.pt", "ct", overrides={"imagesize": SIZE})

    def test_missing_weights_are_an_error_that_says_how_to_get_them(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"No weights at .* Train first"):
            Predictor(tmp_path / "model.pt", "ct")

    def test_weights_of_another_task_are_refused(self, folder: Path) -> None:
        with pytest.raises(ValueError, match="does not fit this I2Net"):
            Predictor(folder / "ct.pt", "histology")

    def test_an_unknown_task_is_named(self) -> None:
        with pytest.raises(ValueError, match=r"Unknown task 'brain'\. The tasks are ct, mr, histology"):
            Predictor(task="brain")
