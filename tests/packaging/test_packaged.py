"""A package is a whole bundle: MONAI's commands and a model zoo's checks, without the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from monai.bundle import ConfigParser, load, verify_metadata

import i2net_bundle
from i2net_bundle.cli import main
from i2net_bundle.data.phantoms import make_gland_phantoms
from i2net_bundle.io.writing import file_sha256
from i2net_bundle.networks import glas_i2net, synapse_i2net
from i2net_bundle.packaging import Weights, package_bundle
from i2net_bundle.workflow.config_files import config_files
from tests.networks.small_networks import randomise_batch_norms

TASKS = {"ct": (synapse_i2net, 1), "histology": (glas_i2net, 3)}
META = ["--meta_file", "configs/metadata.json", "--config_file", "configs/inference.json"]


@pytest.fixture(scope="module", params=TASKS)
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages of both tasks, of weights as training leaves them; the folder is named for its task."""
    folder = tmp_path_factory.mktemp("packages")
    torch.manual_seed(0)
    network = TASKS[request.param][0]()
    randomise_batch_norms(network)
    torch.save(network.state_dict(), folder / "trained.pt")
    main(["package", request.param, "--out", str(folder / request.param), "--weights", str(folder / "trained.pt")])
    return folder / request.param


def run_in(package: Path, *arguments: str) -> None:
    """Run a module in a package, which is all that it finds."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=package, env=clean, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def test_a_package_contains_the_files_that_a_model_zoo_asks_for(package: Path) -> None:
    for name in ("LICENSE", "configs/metadata.json", "configs/inference.json", "models/model.pt", "docs/README.md"):
        assert (package / name).is_file()
    assert not list(package.rglob("__pycache__"))
    metadata = json.loads((package / "configs" / "metadata.json").read_text())
    assert metadata["version"] == i2net_bundle.__version__ and metadata["version"] in metadata["changelog"]
    assert metadata["packaged_weights"] == {
        "origin": "trained, from trained.pt",
        "sha256": file_sha256(package / "models" / "model.pt"),
    }


def test_a_packages_metadata_follows_the_schema(package: Path, shared: Path, tmp_path: Path) -> None:
    schema = shutil.copy(shared / "schema" / "meta_schema_20240725.json", tmp_path)
    verify_metadata(meta_file=str(package / "configs" / "metadata.json"), filepath=schema)


@pytest.mark.parametrize("workflow", ["train.json", "evaluate.json", "inference.json"])
def test_a_package_has_one_configuration_equal_to_the_overlays(package: Path, workflow: str) -> None:
    overlays = ["histology.yaml"] if package.name == "histology" else []
    overlays += ["histology_train.yaml"] if overlays and workflow == "train.json" else []
    layered = ConfigParser.load_config_files(config_files(workflow, *overlays))
    packaged = json.loads((package / "configs" / workflow).read_text())
    own = {"class_names", "channels", "dataset_name", "description", "divisor", "image_size", "network_def"}
    own |= {"encoder_weights"} if workflow == "train.json" else set()
    own |= {"weights"} if workflow == "inference.json" else set()  # those of the package alone
    assert packaged.keys() == layered.keys()
    assert {name for name in packaged if packaged[name] != layered[name]} <= own


def test_a_package_names_classes_channels_and_network_in_plain_words(package: Path) -> None:
    config = json.loads((package / "configs" / "inference.json").read_text())
    ct = package.name == "ct"
    names = (
        ["background", "aorta", "gallbladder", "left kidney", "right kidney", "liver"]
        if ct
        else ["background", "gland"]
    )
    assert config["class_names"][: len(names)] == names and len(config["class_names"]) == (9 if ct else 2)
    assert config["channels"] == (["CT"] if ct else ["R", "G", "B"])
    assert config["divisor"] == (16 if ct else 32)
    target = "i2net_bundle.networks.synapse_i2net" if ct else "i2net_bundle.networks.glas_i2net"
    found = {name: value for name, value in config["network_def"].items() if name != "_desc_"}
    assert found == {
        "_target_": target,
        "num_learners": 3,
        "in_channels": 1 if ct else 3,
        "out_channels": 9 if ct else 1,
    }


def test_monai_loads_a_packages_network(package: Path) -> None:
    network = load(package.name, bundle_dir=str(package.parent), source="github")
    state = torch.load(package / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.slow
def test_the_network_takes_and_gives_what_the_metadata_says(package: Path) -> None:
    run_in(package, "monai.bundle", "verify_net_in_out", "network_def", *META, "--device", "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("workflow", ["train", "inference"])
def test_create_workflow_works_from_any_directory(package: Path, workflow: str, tmp_path: Path) -> None:
    kind = "train" if workflow == "train" else "infer"
    code = (
        "from monai.bundle import create_workflow\n"
        f"root, data = {str(package)!r}, {str(tmp_path / 'data')!r}\n"
        f"config = root + '/configs/{workflow}.json'\n"
        f"workflow = create_workflow(config_file=config, workflow_type={kind!r}, bundle_root=root, dataset_dir=data)\n"
        "workflow.bundle_root, workflow.network_def, workflow.device\n"
    )
    environment = os.environ | {"PYTHONPATH": str(package)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.slow
def test_exports_give_the_networks_logits_at_sizes_they_were_not_made_with(package: Path) -> None:
    build, channels = TASKS[package.name]
    files = [*META, "--ckpt_file", "models/model.pt"]
    run_in(package, "monai.bundle", "ckpt_export", "network_def", "--filepath", "models/model.ts", *files)
    axes = "{0:'batch',2:'height',3:'width'}"
    options = "{'dynamo':False,'input_names':['image'],'output_names':['pred'],"
    options += f"'dynamic_axes':{{'image':{axes},'pred':{axes}}}}}"
    traced = ["--use_trace", "True", "--input_shape", f"[2,{channels},96,96]", "--converter_kwargs", options]
    run_in(package, "monai.bundle", "onnx_export", "network_def", "--filepath", "models/model.onnx", *files, *traced)
    network = build().eval()
    network.load_state_dict(torch.load(package / "models" / "model.pt", weights_only=True))
    scripted = torch.jit.load(package / "models" / "model.ts")
    session = onnxruntime.InferenceSession(package / "models" / "model.onnx", providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    for batch, height, width in [(2, 224, 224), (1, 64, 64), (3, 96, 160), (1, 100, 77), (1, 33, 250)]:
        image = torch.randn(batch, channels, height, width, generator=generator)
        with torch.no_grad():
            logits, from_script = network(image), scripted(image)
        (from_onnx,) = session.run(["pred"], {"image": image.numpy()})
        tolerance = 1e-5 * float(logits.abs().max())
        assert from_onnx.shape == tuple(logits.shape)
        assert np.abs(from_onnx - logits.numpy()).max() < tolerance
        assert (from_script - logits).abs().max() < tolerance


@pytest.mark.slow
def test_running_a_package_trains_it_and_keeps_every_run_and_all_weights(tmp_path: Path) -> None:
    make_gland_phantoms(tmp_path / "data", 2, 1, 1, size=(64, 64))
    (tmp_path / "fast.json").write_text('{"image_size": [64, 64], "batch_size": 2, "epochs": 1, "num_workers": 0}')
    package = package_bundle("histology", tmp_path / "package", Weights(), train_overlays=[tmp_path / "fast.json"])
    untrained = file_sha256(package / "models" / "model.pt")
    command = ["monai.bundle", "run", "--config_file", "configs/train.json", "--device", "cpu"]
    for learning_rate in ("0.001", "0"):
        run_in(package, *command, "--dataset_dir", str(tmp_path / "data"), "--learning_rate", learning_rate)
    assert sorted(path.name for path in (package / "runs").iterdir()) == ["histology", "histology-1"]
    first, second = (
        json.loads((package / "runs" / name / "publication.json").read_text()) for name in ("histology-1", "histology")
    )
    assert first["validation_cases"] == 1 and second["score_before"] == max(first["score"], first["score_before"])
    published = second if second["published"] else first if first["published"] else {"sha256": untrained}
    assert file_sha256(package / "models" / "model.pt") == published["sha256"]
    kept = {file_sha256(path) for path in (package / "models").glob("model_until_*.pt")}
    assert len(kept) == first["published"] + second["published"] and (untrained in kept or not kept)


def test_untrained_weights_are_called_so_and_depend_only_on_the_seed(tmp_path: Path) -> None:
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    hashes = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        package = package_bundle("histology", tmp_path / name, Weights(seed=seed))
        metadata = json.loads((package / "configs" / "metadata.json").read_text())
        assert metadata["packaged_weights"]["origin"] == f"UNTRAINED: random weights (seed {seed})"
        assert "UNTRAINED" in metadata["description"] and "UNTRAINED" in (package / "docs" / "README.md").read_text()
        weights = torch.load(package / "models" / "model.pt", weights_only=True)
        hashes.append(weights["head.conv.weight"])
    assert torch.equal(hashes[0], hashes[1]) and not torch.equal(hashes[0], hashes[2])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_encoder_weights_fill_the_encoder_of_untrained_ones(tmp_path: Path) -> None:
    encoder = glas_i2net().encoder.state_dict()
    torch.save(encoder, tmp_path / "encoder.pt")
    options = ["--untrained", "--encoder-weights", str(tmp_path / "encoder.pt")]
    main(["package", "histology", "--out", str(tmp_path / "package"), *options])
    weights = torch.load(tmp_path / "package" / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(weights[f"encoder.{name}"], value) for name, value in encoder.items())
    metadata = json.loads((tmp_path / "package" / "configs" / "metadata.json").read_text())
    origin = "UNTRAINED: encoder from encoder.pt, all other weights random (seed 0)"
    assert metadata["packaged_weights"]["origin"] == origin


def test_weights_of_another_task_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    torch.save(synapse_i2net().state_dict(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt does not fit this I2Net"):
        package_bundle("histology", tmp_path / "package", Weights(tmp_path / "model.pt"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_weights_are_packaged_at_the_size_they_were_trained_at_and_at_no_other(tmp_path: Path) -> None:
    small = tmp_path / "small.json"
    small.write_text('{"image_size": [64, 64]}')
    trained = package_bundle("ct", tmp_path / "small", Weights(), [small]) / "models" / "model.pt"
    other = tmp_path / "other.json"
    other.write_text('{"image_size": [224, 224]}')
    with pytest.raises(ValueError, match=r"was trained with image_size \[64, 64\], here \[224, 224\]"):
        package_bundle("ct", tmp_path / "package", Weights(trained), [other])
    package_bundle("ct", tmp_path / "package", Weights(trained))
    for name in ("train.json", "evaluate.json", "inference.json"):
        assert json.loads((tmp_path / "package" / "configs" / name).read_text())["image_size"] == [64, 64]


def test_a_missing_overlay_and_a_folder_in_use_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"The configuration .*nowhere\.yaml does not exist"):
        package_bundle("histology", tmp_path / "package", Weights(), [tmp_path / "nowhere.yaml"])
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        package_bundle("histology", tmp_path / "used", Weights())


def test_encoder_weights_are_refused_with_trained_weights(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="contains an encoder"):
        main(["package", "histology", "--out", str(tmp_path / "p"), "--weights", "a.pt", "--encoder-weights", "b.pt"])
