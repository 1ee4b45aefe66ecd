"""The documented command lines, on small phantoms, and MONAI's own checks of the bundle."""

from __future__ import annotations

import ast
import csv
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow, create_workflow, load, verify_metadata, verify_net_in_out
from PIL import Image

from i2net_bundle.cli import main
from i2net_bundle.data.phantoms import make_ct_phantoms, make_gland_phantoms
from i2net_bundle.evaluation.folders import evaluate_folders
from tests.child_processes import CHILD_PATH

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Task:
    """One task's configurations, its shared overlays last, and what makes them small."""

    overlays: tuple[str, ...]
    train_overlays: tuple[str, ...]
    metadata: str
    image_size: str
    mask_suffix: str


TASKS = {
    "ct": Task((), (), "metadata.json", "[32,32]", "_mask.nii.gz"),
    "histology": Task(
        ("histology.yaml",), ("histology_train.yaml",), "metadata_histology.json", "[64,64]", "_mask.png"
    ),
}


def config(*names: str, root: Path = ROOT) -> str:
    return str([str(root / "configs" / name) for name in names])


def bundle(*arguments: str, cwd: Path = ROOT, check: bool = True) -> subprocess.CompletedProcess:
    """Run `python -m monai.bundle …` as a user would; the package is importable through the checkout."""
    environment = os.environ | {"PYTHONPATH": CHILD_PATH, "MONAI_FAIL_ON_DUPLICATE_CONFIG": "1"}
    command = [sys.executable, "-m", "monai.bundle", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0 or not check, done.stdout[-2000:] + done.stderr[-4000:]
    return done


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    make_ct_phantoms(folder / "ct", 2, 1, 2, shape=(48, 40, 16), spacing_mm=(8, 8, 15))
    make_gland_phantoms(folder / "histology", 4, 1, 2, size=(96, 128))
    return {"ct": folder / "ct", "histology": folder / "histology"}


def training_options(task: Task, data_dir: Path, run: Path) -> list[str]:
    files = config("train.json", *task.overlays, *task.train_overlays)
    options = ["run", "training", "--config_file", files, "--meta_file", str(ROOT / "configs" / task.metadata)]
    options += ["--dataset_dir", str(data_dir), "--output_dir", str(run), "--image_size", task.image_size]
    options += ["--epochs", "2", "--val_interval", "1", "--batch_size", "4", "--num_workers", "0"]
    return [*options, "--encoder_weights", "none", "--device", "cpu"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_training_evaluation_and_inference_run_from_the_command_line(
    name: str, data: dict[str, Path], tmp_path: Path
) -> None:
    task, run = TASKS[name], tmp_path / "run"
    bundle(*training_options(task, data[name], run))
    with (run / "training.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"segmentation", "learner_orthogonalization", "gate_entropy", "mean_gate_2", "val_mean_dice"} <= rows[
        0
    ].keys()
    assert list((run / "tensorboard").iterdir())
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"epoch_0001.pt", "epoch_0002.pt"}

    common = ["--dataset_dir", str(data[name]), "--output_dir", str(run)]
    evaluate = ["run", "evaluating", "--config_file", config("evaluate.json", *task.overlays), *common]
    bundle(*evaluate)
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    with (run / "evaluation" / "metrics.csv").open(newline="") as file:
        scores = list(csv.DictReader(file))
    classes = 8 if name == "ct" else 1
    assert summary["cases"] == 2 and len(scores) == 2 * classes
    cases = {row["case"] for row in scores}
    means = [
        np.nanmean([float(row["strict_dice"] or "nan") for row in scores if row["case"] == case]) for case in cases
    ]
    assert summary["mean"]["strict_dice"]["mean"] == pytest.approx(np.mean(means), abs=1e-9)
    of_masks = evaluate_folders(run / "evaluation" / "masks", data[name], tmp_path / "scores")
    tables = [(folder / "metrics.csv").read_text() for folder in (run / "evaluation", tmp_path / "scores")]
    assert tables[0] == tables[1]
    assert {**summary, "weights": None} == of_masks
    assert len(list((run / "evaluation" / "pictures").glob("*.png"))) == 2
    again = bundle(*evaluate, check=False)
    assert again.returncode != 0 and "already contains results" in again.stderr.splitlines()[-1]

    images = data[name] / ("imagesTs" if name == "ct" else "images")
    masks, weights = tmp_path / "masks", str(run / "model.pt")
    predict = ["run", "--config_file", config("inference.json", *task.overlays), "--dataset_dir", str(images)]
    bundle(*predict, "--output_dir", str(masks), "--weights", weights)
    for image in images.iterdir():
        mask = masks / (image.name.split(".")[0] + task.mask_suffix)
        if name == "ct":
            found, expected = nib.load(mask), nib.load(image)
            assert found.get_data_dtype() == np.uint8 and found.shape == expected.shape
            assert np.array_equal(found.affine, expected.affine)
            evaluated = run / "evaluation" / "masks" / mask.name
            assert np.array_equal(np.asarray(found.dataobj), np.asarray(nib.load(evaluated).dataobj))
        else:
            assert Image.open(mask).size == Image.open(image).size
            assert set(np.unique(np.asarray(Image.open(mask)))) <= {0, 255}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "overlay", "changes", "named"),
    [
        ("ct", "unet.yaml", "network_def::channels: [4, 8, 8, 8, 8]\nnetwork_def::num_res_units: 0\n", "UNet"),
        ("histology", "unet.yaml", "network_def::channels: [4, 8, 8, 8, 8]\nnetwork_def::num_res_units: 0\n", "UNet"),
        ("histology", "peer.yaml", "decoder: ifa\nencoder_weights: none\n", "ifa decoder"),
    ],
)
def test_another_network_takes_the_whole_path_from_its_record(
    name: str, overlay: str, changes: str, named: str, data: dict[str, Path], tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(changes)
    task, runs = TASKS[name], [tmp_path / "first", tmp_path / "second"]
    overlays = str([*ast.literal_eval(config(*task.overlays, overlay)), str(own)])
    for run, options in zip(runs, ([], ["--init_weights", str(runs[0] / "model.pt")]), strict=True):
        training = training_options(task, data[name], run)
        files = [*ast.literal_eval(training[training.index("--config_file") + 1]), *ast.literal_eval(overlays)]
        training[training.index("--config_file") + 1] = str(files)
        training[training.index("--image_size") + 1] = "[50,45]"
        said = bundle(*training, "--epochs", "1", *options)
    log = said.stdout + said.stderr
    assert "The network has no gates" in log and f"tensors from {runs[0] / 'model.pt'}" in log
    evaluate = config("evaluate.json", *task.overlays, overlay)
    bundle(
        "run", "evaluating", "--config_file", evaluate, "--dataset_dir", str(data[name]), "--output_dir", str(runs[1])
    )
    weights, images = str(runs[1] / "model.pt"), data[name] / ("imagesTs" if name == "ct" else "images")
    main(["predict", str(images), "-o", str(tmp_path / "masks"), "--weights", weights, "--device", "cpu"])
    evaluated, predicted = runs[1] / "evaluation" / "masks", tmp_path / "masks"
    for path in evaluated.iterdir():
        files = [folder / path.name for folder in (predicted, evaluated)]
        masks = [np.asarray(nib.load(file).dataobj if name == "ct" else Image.open(file)) for file in files]
        assert np.array_equal(*masks)
    main(["report", str(runs[1])])
    page = (runs[1] / "report" / "index.html").read_text(encoding="utf-8")
    assert "gate of every learner" not in page
    kind = "ct" if name == "ct" else "histology"
    main(["package", kind, "--out", str(tmp_path / "package"), "--weights", weights])
    metadata = json.loads((tmp_path / "package" / "configs" / "metadata.json").read_text())
    assert named in metadata["name"] and "I2Net" not in json.dumps([metadata["name"], metadata["description"]])
    network = load("package", bundle_dir=str(tmp_path), source="github")
    state = torch.load(tmp_path / "package" / "models" / "model.pt", weights_only=True)
    assert type(network).__name__ == ("UNet" if overlay == "unet.yaml" else "PeerNet")
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


@pytest.mark.slow
def test_training_works_from_another_directory_with_bundle_root(data: dict[str, Path], tmp_path: Path) -> None:
    options = training_options(TASKS["ct"], data["ct"], tmp_path / "run")
    bundle(*options, "--epochs", "1", "--bundle_root", str(ROOT), cwd=tmp_path)
    assert (tmp_path / "run" / "model.pt").is_file()


@pytest.mark.slow
def test_two_nodes_train_one_network(data: dict[str, Path], tmp_path: Path) -> None:
    options = training_options(TASKS["histology"], data["histology"], tmp_path / "run")
    files = config("train.json", "histology.yaml", "histology_train.yaml", "multi_gpu_train.yaml")
    options[options.index("--config_file") + 1] = files
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1"]
    launcher += ["--rdzv_backend=c10d", f"--rdzv_endpoint={endpoint}", "--local_addr=127.0.0.1"]
    options = [option for option in options if option not in ("--device", "cpu")] + ["--auxiliary_weight", "0.4"]
    command = [*launcher, "-m", "monai.bundle", *options]
    environment = os.environ | {"PYTHONPATH": CHILD_PATH, "OMP_NUM_THREADS": "1"}
    logs = [tmp_path / f"node_{number}.log" for number in range(2)]
    nodes = []
    for log in logs:
        with log.open("w") as output:
            nodes.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output))
    done = [node.wait() for node in nodes]
    assert done == [0, 0], logs[0].read_text()[-4000:]
    with (tmp_path / "run" / "training.csv").open(newline="") as file:
        assert len([row for row in csv.DictReader(file) if float(row["auxiliary"]) > 0]) == 2
    state = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    assert "decoder.layers.0.weight" in state
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "epoch_0002.pt", weights_only=True)
    assert checkpoint["auxiliary_head"]["layers.0.weight"].shape == (64, 256, 3, 3)


@pytest.mark.parametrize("option", ["--epoch", "--learningrate", "--lambda_gc"])
@pytest.mark.slow
def test_a_misspelt_option_stops_with_the_nearest_name(option: str, data: dict[str, Path], tmp_path: Path) -> None:
    options = training_options(TASKS["ct"], data["ct"], tmp_path / "run")
    done = bundle(*options, option, "1", check=False)
    nearest = {"--epoch": "epochs", "--learningrate": "learning_rate", "--lambda_gc": "lambda_gs"}[option]
    assert done.returncode != 0
    assert f"did you mean '{nearest}'" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("files", "workflow"),
    [
        (("train.json",), "train"),
        (("train.json", "histology.yaml", "histology_train.yaml"), "train"),
        (("train.json", "histology.yaml", "histology_train.yaml", "glas_small.yaml"), "train"),
        (("evaluate.json",), "infer"),
        (("evaluate.json", "histology.yaml"), "infer"),
        (("inference.json",), "infer"),
        (("inference.json", "histology.yaml"), "infer"),
    ],
    ids=" ".join,
)
def test_every_required_property_is_present(
    files: tuple[str, ...], workflow: str, data: dict[str, Path], tmp_path: Path
) -> None:
    kind = "histology" if "histology.yaml" in files else "ct"
    weights = tmp_path / "model.pt"
    overrides = {"dataset_dir": str(data[kind]), "output_dir": str(tmp_path / "run")}
    if files[0] == "inference.json":
        overrides["dataset_dir"] = str(data[kind] / ("images" if kind == "histology" else "imagesTs"))
    if workflow == "infer":
        overrides["weights"] = str(weights)
    meta = str(ROOT / "configs" / TASKS[kind].metadata)
    paths = [str(ROOT / "configs" / name) for name in files]
    found = ConfigWorkflow(paths, meta_file=meta, workflow_type=workflow, **overrides)
    found.initialize()
    assert found.check_properties() == []


@pytest.mark.parametrize("name", ["metadata.json", "metadata_histology.json"])
def test_metadata_follows_the_schema(name: str, shared: Path, tmp_path: Path) -> None:
    schema = shutil.copy(shared / "schema" / "meta_schema_20240725.json", tmp_path)
    verify_metadata(meta_file=str(ROOT / "configs" / name), filepath=schema)


@pytest.mark.parametrize("name", TASKS)
def test_network_takes_and_gives_what_the_metadata_says(name: str) -> None:
    task = TASKS[name]
    files = [str(ROOT / "configs" / file) for file in ("inference.json", *task.overlays)]
    # the metadata describe the paper's networks; the weights for glands in models/ have a separation map as well
    plain = {"separation": "none"} if name == "histology" else {}
    meta = str(ROOT / "configs" / task.metadata)
    verify_net_in_out("network_def", meta_file=meta, config_file=files, device="cpu", **plain)


def test_monai_loads_the_network_by_name(tmp_path: Path) -> None:
    (tmp_path / "i2net").mkdir()
    shutil.copytree(ROOT / "configs", tmp_path / "i2net" / "configs")
    (tmp_path / "i2net" / "models").mkdir()
    workflow = create_workflow(config_file=str(ROOT / "configs" / "inference.json"), workflow_type="infer")
    weights = workflow.network_def.state_dict()
    torch.save(weights, tmp_path / "i2net" / "models" / "model.pt")
    network = load("i2net", bundle_dir=str(tmp_path), source="github")
    assert torch.equal(network.state_dict()["head.conv.weight"], weights["head.conv.weight"])


def test_versions_agree() -> None:
    import i2net_bundle

    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for name in ("metadata.json", "metadata_histology.json"):
        metadata = json.loads((ROOT / "configs" / name).read_text(encoding="utf-8"))
        assert metadata["version"] == i2net_bundle.__version__
        assert i2net_bundle.__version__ in metadata["changelog"]
    assert f"## [{i2net_bundle.__version__}]" in changelog
