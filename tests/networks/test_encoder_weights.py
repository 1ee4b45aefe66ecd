"""Weights of an encoder are loaded strictly from a file, or from the published one."""

from __future__ import annotations

import hashlib
import re
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from i2net_bundle.networks import ResNetEncoder, UNetEncoder
from i2net_bundle.networks.weights import load_encoder
from tests.networks.states import State, assert_same_state, copy_state, save


class TestLoadEncoderFromAFile:
    def test_encoder_is_filled_and_the_classifier_ignored(self, tmp_path: Path) -> None:
        trained, fresh = UNetEncoder(1, (4, 4)), UNetEncoder(1, (4, 4))
        classifier = {"fc.weight": torch.zeros(10, 4), "fc.bias": torch.zeros(10)}
        load_encoder(fresh, save(trained.state_dict() | classifier, tmp_path / "encoder.pt"))
        assert_same_state(fresh.state_dict(), trained.state_dict())

    def test_names_that_only_look_like_the_classifier_are_not_ignored(self, tmp_path: Path) -> None:
        encoder = UNetEncoder(1, (4, 4))
        path = save(encoder.state_dict() | {"fcn.weight": torch.zeros(1)}, tmp_path / "encoder.pt")
        with pytest.raises(ValueError, match=r"fcn\.weight is not known"):
            load_encoder(encoder, path)

    def test_the_derived_imagenet_weights_load_strictly(self, shared: Path) -> None:
        path = shared / "weights" / "resnet18_imagenet_derived.pt"
        encoder = ResNetEncoder(18)
        load_encoder(encoder, path)
        assert_same_state(encoder.state_dict(), torch.load(path, weights_only=True))

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "encoder.pt"
        with pytest.raises(FileNotFoundError, match=re.escape(f"No encoder weights at {path}")):
            load_encoder(UNetEncoder(1, (4, 4)), path)

    def test_another_encoders_weights_are_refused(self, tmp_path: Path) -> None:
        path = save(UNetEncoder(3, (4, 4)).state_dict(), tmp_path / "encoder.pt")
        problem = "stem.0.weight is (4, 3, 3, 3), the network's (4, 1, 3, 3)"
        with pytest.raises(ValueError, match=re.escape(problem)):
            load_encoder(UNetEncoder(1, (4, 4)), path)

    def test_a_file_older_than_batch_counters_loads(self, tmp_path: Path) -> None:
        trained, fresh = UNetEncoder(1, (4, 4)), UNetEncoder(1, (4, 4))
        old = {name: value for name, value in trained.state_dict().items() if not name.endswith("num_batches_tracked")}
        load_encoder(fresh, save(old, tmp_path / "encoder.pt"))
        assert_same_state(fresh.state_dict(), trained.state_dict())


class TestPublishedEncoderWeights:
    """`imagenet` without a network: the download is replaced, or served from a file:// address."""

    def test_the_published_file_is_requested_and_its_hash_checked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        published, encoder = ResNetEncoder(18), ResNetEncoder(18)
        calls: list[tuple[str, dict[str, Any]]] = []

        def download(url: str, **options: Any) -> State:
            calls.append((url, options))
            return published.state_dict() | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}

        monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
        load_encoder(encoder, "imagenet")
        assert_same_state(encoder.state_dict(), published.state_dict())
        [(url, options)] = calls
        assert url == "https://download.pytorch.org/models/resnet18-f37072fd.pth"
        assert options["check_hash"] is True
        assert options["weights_only"] is True

    def test_offline_the_error_names_the_file_to_fetch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def download(url: str, **options: Any) -> State:
            raise urllib.error.URLError("no route to host")

        monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
        with pytest.raises(
            ConnectionError, match=r"Cannot download https://.*/resnet18-f37072fd\.pth .*no route to host"
        ):
            load_encoder(ResNetEncoder(18), "imagenet")

    def serve(self, encoder: UNetEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: str | None) -> None:
        """Give the encoder a published file on a file:// address, ``digest`` in its name instead of its own hash."""
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
        torch.manual_seed(3)
        path = save(UNetEncoder(1, (4, 4)).state_dict(), tmp_path / "unet.pth")
        digest = digest or hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        encoder.imagenet_url = path.rename(tmp_path / f"unet-{digest}.pth").as_uri()

    def test_a_file_with_the_right_hash_is_loaded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        encoder = UNetEncoder(1, (4, 4))
        self.serve(encoder, tmp_path, monkeypatch, digest=None)
        load_encoder(encoder, "imagenet")
        torch.manual_seed(3)
        assert_same_state(encoder.state_dict(), UNetEncoder(1, (4, 4)).state_dict())

    def test_a_file_with_another_hash_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        encoder = UNetEncoder(1, (4, 4))
        before = copy_state(encoder)
        self.serve(encoder, tmp_path, monkeypatch, digest="0123abcd")
        with pytest.raises(RuntimeError, match=re.escape('invalid hash value (expected "0123abcd"')):
            load_encoder(encoder, "imagenet")
        assert_same_state(encoder.state_dict(), before)

    def test_a_download_that_was_damaged_since_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        encoder = UNetEncoder(1, (4, 4))
        self.serve(encoder, tmp_path, monkeypatch, digest=None)
        load_encoder(encoder, "imagenet")
        [file] = (tmp_path / "cache").rglob("*.pth")
        file.write_bytes(file.read_bytes()[:-100] + bytes(100))
        with pytest.raises(ValueError, match=r"unet-.*\.pth is damaged: .* Remove it to download it again"):
            load_encoder(encoder, "imagenet")

    @pytest.mark.parametrize(
        "build",
        [lambda: UNetEncoder(1, (4, 4)), lambda: ResNetEncoder(18, deep_stem=True), lambda: nn.Conv2d(1, 1, 1)],
        ids=["UNetEncoder", "ResNetEncoder", "Conv2d"],
    )
    def test_an_encoder_without_published_weights_is_refused(self, build: Any, request: pytest.FixtureRequest) -> None:
        name = request.node.callspec.id
        with pytest.raises(ValueError, match=f"No ImageNet weights are published for this {name}"):
            load_encoder(build(), "imagenet")
