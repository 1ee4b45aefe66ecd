"""One site of a federation, trained through MONAI's MonaiAlgo with the bundle's own configurations."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow

from i2net_bundle.data.phantoms import make_ct_phantoms
from i2net_bundle.demo import untrained_network
from i2net_bundle.federation.federated_site import Site
from i2net_bundle.federation.global_weights import collect_weights, received_weights
from i2net_bundle.networks.tensor_files import load_tensors, save_tensors
from i2net_bundle.prediction.trained_network import load_trained_network
from i2net_bundle.workflow.config_files import config_files

SMALL = """
network_def:
  _target_: monai.networks.nets.UNet
  spatial_dims: 2
  in_channels: "@num_channels"
  out_channels: "@out_channels"
  channels: [4, 8]
  strides: [2]
  norm: batch
image_size: [32, 32]
batch_size: 8
num_workers: 0
device: cpu
"""
ROUNDS = 2


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    overlay = tmp_path / "small.yaml"
    overlay.write_text(SMALL, encoding="utf-8")
    return [*config_files("train.json"), str(overlay)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_ct_phantoms(tmp_path / "data", 1, 0, 0, shape=(48, 40, 16), spacing_mm=(8, 8, 15)).parent


@pytest.fixture
def initial(files: list[str], data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "initial" / "model.pt"
    save_tensors(untrained_network(files, data).state_dict(), path)
    return path


def test_rounds_that_return_a_sites_own_weights_are_one_plain_run(
    files: list[str], data: Path, initial: Path, tmp_path: Path
) -> None:
    plain = {"dataset_dir": str(data), "output_dir": str(tmp_path / "plain"), "epochs": ROUNDS}
    workflow = ConfigWorkflow(files, logging_file=False, workflow_type="train", init_weights=str(initial), **plain)
    workflow.initialize()
    workflow.trainer.run()

    site = Site("site-1", files, data, tmp_path / "site", rounds=ROUNDS, epochs=1)
    weights = load_tensors(initial)
    for number in range(ROUNDS):
        weights = site.train(weights, number)

    expected = load_tensors(tmp_path / "plain" / "model.pt")
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert site.num_slices == 16
    with (tmp_path / "site" / "training.csv").open(newline="") as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([0.01, 0.01 * 0.5**0.9], rel=1e-4)  # one schedule over both rounds
    # what the server sends is what the site stores
    first = load_tensors(received_weights(tmp_path / "site", 0))
    assert all(torch.equal(first[name], value) for name, value in load_tensors(initial).items())

    # the server averages; with one site, this is the site's own weights
    last = tmp_path / "FL_global_model.pt"
    torch.save({"model": {name: value.double() for name, value in weights.items()}}, last)
    paths = collect_weights(last, initial, [tmp_path / "site"], tmp_path / "global", ROUNDS)
    saved = load_tensors(paths[-1])
    assert all(torch.equal(saved[name], expected[name]) for name in expected)
    assert {name: value.dtype for name, value in saved.items()} == {n: v.dtype for n, v in expected.items()}
    second = load_tensors(received_weights(tmp_path / "site", 1))
    assert all(torch.equal(load_tensors(paths[0])[name], value) for name, value in second.items())
    loaded = load_trained_network(paths[-1])  # the network of the record, not that of inference.json
    assert loaded.task == "ct" and loaded.records[0].training_cases == 1
    assert all(torch.equal(value, expected[name]) for name, value in loaded.networks[0].state_dict().items())
