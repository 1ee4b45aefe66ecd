"""Faults of weights, their records and configurations from elsewhere."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from i2net_bundle.networks.encoders import ResNetEncoder
from i2net_bundle.networks.tensor_files import save_tensors
from i2net_bundle.networks.weights import load_encoder, load_matching, load_network
from i2net_bundle.prediction.trained_network import load_trained_network
from i2net_bundle.workflow import shipped_weights
from i2net_bundle.workflow.config_files import bundle_root
from i2net_bundle.workflow.recorded_network import build_network
from i2net_bundle.workflow.run_records import run_record
from i2net_bundle.workflow.run_settings import require_settings
from tests.docs.faults.table import Make, Printed, logged, refused
from tests.networks.small_networks import small_i2net
from tests.workflow.records import UNET, write


def weights(change: Callable[[Path], object], load: Callable[..., Any] = load_network, **network: int) -> Make:
    """Weights of a small network, changed, and loaded into one with these numbers of learners and classes."""

    def make(folder: Path) -> Printed:
        path = folder / "model.pt"
        save_tensors(small_i2net(3, 9).state_dict(), path)
        change(path)
        return refused(lambda: load(small_i2net(network.get("learners", 3), network.get("classes", 9)), path))

    return make


def record(**changed: Any) -> Make:
    """A record beside weights with these keys changed."""

    def make(folder: Path) -> Printed:
        path = write(folder, **changed)
        return refused(lambda: run_record(path))

    return make


def content(text: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text)


def flip_a_bit(path: Path) -> None:
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 16
    path.write_bytes(contents)


def with_code(path: Path) -> None:
    """A pickle that would run code."""
    torch.save({"weight": Path("x")}, path)


def of_another_program(path: Path) -> None:
    """Weights without a digest, with a flipped bit in a tensor."""
    state = small_i2net(3, 9).state_dict()
    torch.save(state, path)
    sound = state["head.conv.weight"].numpy().tobytes()
    path.write_bytes(path.read_bytes().replace(sound, bytes([sound[0] ^ 16]) + sound[1:]))


def old_format(folder: Path) -> Printed:
    path = folder / "model.pt"
    torch.save(small_i2net(3, 9).state_dict(), path, _use_new_zipfile_serialization=False)
    return logged(lambda: load_network(small_i2net(3, 9), path))


def twice(path: Path) -> None:
    state = small_i2net(3, 9).state_dict()
    save_tensors({f"{part}.{name}": value for part in ("student", "teacher") for name, value in state.items()}, path)


def lightning(folder: Path) -> Printed:
    path = folder / "model.ckpt"
    state = {f"backbone.{name}": value for name, value in small_i2net(3, 9).state_dict().items()}
    save_tensors({"epoch": 3, "state_dict": state | {"loss.class_weights": torch.ones(2)}}, path)
    return logged(lambda: load_network(small_i2net(3, 9), path))


def encoder(name: str, content: bytes, source: str | None = None) -> Make:
    """Weights of an encoder; the published file lies in torch's folder."""

    def make(folder: Path) -> Printed:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TORCH_HOME", str(folder))
            return refused(lambda: load_encoder(ResNetEncoder(), folder / name if source is None else source))

    return make


def not_finite(path: Path) -> None:
    state = small_i2net(3, 9).state_dict()
    state["head.conv.bias"][0] = float("nan")
    save_tensors(state, path)


def damaged_record(folder: Path) -> Printed:
    (folder / "settings.json").write_text("{", encoding="utf-8")
    return refused(lambda: run_record(folder / "model.pt"))


def other_settings(folder: Path) -> Printed:
    path = write(folder, image_size=[224, 224])
    return refused(lambda: require_settings(path, {"image_size": [64, 64]}))


def network(limit_bytes: float, **content: Any) -> Make:
    """A record that names this network."""

    def make(folder: Path) -> Printed:
        record = run_record(write(folder, network=content)).network
        assert record is not None
        return refused(lambda: build_network(record, limit_bytes))

    return make


def shipped(task: str | None) -> Make:
    """Weights that come with the bundle, changed, for a user who names none."""

    def make(folder: Path) -> Printed:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shipped_weights, "bundle_root", lambda: Path())
            patch.chdir(folder)
            shutil.copytree(bundle_root() / "models" / "glands", folder / "models" / "glands")
            with Path("models", "glands", "model.pt").open("ab") as file:
                file.write(b" ")
            return refused(lambda: load_trained_network(task=task))

    return make


PUBLISHED = str(ResNetEncoder().imagenet_url).rpartition("/")[2]

FAULTS: dict[str, Make] = {
    "no weights": weights(Path.unlink),
    "no weights, and no task whose weights come with the bundle": shipped(None),
    "changed weights of the bundle": shipped("histology"),
    "not a weights file": weights(content(b"<!DOCTYPE html><p>Log in")),
    "empty weights": weights(content(b"")),
    "pointer of Git LFS": weights(content(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")),
    "weights with more than tensors (a pickle can run code)": weights(with_code),
    "truncated weights": weights(lambda path: path.write_bytes(path.read_bytes()[:-200])),
    "flipped bit in weights": weights(flip_a_bit),
    "damaged weights of another program": weights(of_another_program),
    "weights in PyTorch's format before 1.6": old_format,
    "file with two sets of the weights": weights(twice),
    "Lightning checkpoint with further tensors": lightning,
    "NaN or infinity in weights": weights(not_finite),
    "published ImageNet weights damaged": encoder(f"hub/checkpoints/{PUBLISHED}", b"PK\x03\x04 cut", "imagenet"),
    "encoder weights damaged": encoder("resnet34.pt", b"PK\x03\x04 cut"),
    "weights for another number of classes": weights(lambda path: None, classes=2),
    "weights of another network, or incomplete weights": weights(lambda path: None, learners=4),
    "`init_weights` of which nothing fits": weights(
        lambda path: save_tensors({"x": torch.zeros(3)}, path), load_matching
    ),
    "damaged `settings.json`": damaged_record,
    "expression in `settings.json`": record(image_size="$__import__('os').system('true')"),
    "component in `settings.json`": record(intensity={"_target_": "os.system", "command": "true"}),
    "value out of range in `settings.json`": record(divisor=0),
    "unknown key in `settings.json`": record(imagesize=[64, 64]),
    "network outside MONAI and this bundle in `settings.json`": network(
        math.inf, target="os.system", arguments={"command": "true"}
    ),
    "network too large for memory in `settings.json`": network(
        2**26, target="monai.networks.nets.UNet", arguments={**UNET["arguments"], "channels": [10**5, 10**5]}
    ),
    "settings that differ from those of the weights": other_settings,
}
