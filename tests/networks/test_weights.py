"""Weights from files are loaded strictly and safely, and misfits are named."""

from __future__ import annotations

import copy
import hashlib
import math
import re
import time
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from i2net_bundle.networks import ResNetEncoder, UNetEncoder, cityscapes_i2net, glas_i2net, synapse_i2net
from i2net_bundle.networks.weights import load_encoder, load_matching, load_network
from tests.networks.small_networks import small_i2net

State = dict[str, torch.Tensor]


def save(state: Any, path: Path) -> Path:
    torch.save(state, path)
    return path


def assert_same_state(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def copy_state(module: nn.Module) -> State:
    return copy.deepcopy(dict(module.state_dict()))


class TestLoadNetwork:
    @pytest.mark.parametrize("key", [None, "network", "state_dict", "model", "model_state_dict"])
    def test_every_parameter_and_buffer_comes_from_the_file(self, key: str | None, tmp_path: Path) -> None:
        trained, fresh = small_i2net(), small_i2net()
        trained(torch.randn(2, 1, 16, 16))  # moves the running statistics
        state = trained.state_dict()
        load_network(fresh, save(state if key is None else {key: state, "epoch": 3}, tmp_path / "model.pt"))
        assert_same_state(fresh.state_dict(), state)

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "network.", "module._orig_mod."])
    def test_prefixes_that_wrappers_leave_are_removed(self, prefix: str, tmp_path: Path) -> None:
        trained, fresh = small_i2net(), small_i2net()
        state = {f"{prefix}{name}": value for name, value in trained.state_dict().items()}
        load_network(fresh, save({"state_dict": state}, tmp_path / "model.pt"))
        assert_same_state(fresh.state_dict(), trained.state_dict())

    def test_a_lightning_checkpoint_is_unwrapped(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        trained, fresh = small_i2net(), small_i2net()
        state = {f"backbone.{name}": value for name, value in trained.state_dict().items()}
        contents = {"epoch": 3, "state_dict": state | {"loss.class_weights": torch.ones(2)}, "optimizer_states": [{}]}
        load_network(fresh, save(contents, tmp_path / "model.ckpt"))
        assert_same_state(fresh.state_dict(), trained.state_dict())
        assert "1 tensor outside 'backbone.' not used: loss.class_weights" in caplog.text

    def test_a_file_with_two_sets_of_the_weights_is_refused(self, tmp_path: Path) -> None:
        state = small_i2net().state_dict()
        both = {f"{part}.{name}": value for part in ("student", "teacher") for name, value in state.items()}
        with pytest.raises(ValueError, match=r"more than once, under student\., teacher\.: save"):
            load_network(small_i2net(), save(both, tmp_path / "model.pt"))

    def test_a_name_of_a_million_dots_is_refused_at_once(self, tmp_path: Path) -> None:
        path = save({"." * 10**6: torch.zeros(1)}, tmp_path / "model.pt")
        started = time.process_time()
        with pytest.raises(ValueError, match="does not fit this I2Net"):
            load_network(small_i2net(), path)
        assert time.process_time() - started < 5

    def test_names_with_escape_sequences_do_not_reach_the_terminal(self, tmp_path: Path) -> None:
        state = dict(small_i2net().state_dict()) | {"a\x1b[2Jb": torch.zeros(1)}
        with pytest.raises(ValueError, match="is not known") as error:
            load_network(small_i2net(), save(state, tmp_path / "model.pt"))
        assert "\x1b" not in str(error.value) and "a\\x1b[2Jb" in str(error.value)

    def test_weights_in_another_precision_are_converted(self, tmp_path: Path) -> None:
        trained, fresh = small_i2net(), small_i2net()
        state = {
            name: value.double() if value.is_floating_point() else value for name, value in trained.state_dict().items()
        }
        load_network(fresh, save(state, tmp_path / "model.pt"))
        assert_same_state(fresh.state_dict(), trained.state_dict())

    def test_whole_numbers_in_place_of_weights_are_refused(self, tmp_path: Path) -> None:
        state = copy_state(small_i2net())
        state["head.conv.bias"] = state["head.conv.bias"].long()
        with pytest.raises(ValueError, match=r"head\.conv\.bias is torch\.int64, the network's torch\.float32"):
            load_network(small_i2net(), save(state, tmp_path / "model.pt"))

    def test_a_networks_own_names_keep_what_looks_like_a_prefix(self, tmp_path: Path) -> None:
        trained, fresh = (nn.ModuleDict({"network": nn.Linear(2, 2)}) for _ in range(2))
        load_network(fresh, save(trained.state_dict(), tmp_path / "model.pt"))
        assert_same_state(fresh.state_dict(), trained.state_dict())

    @pytest.mark.parametrize("as_text", [False, True], ids=["Path", "str"])
    def test_path_may_be_text(self, as_text: bool, tmp_path: Path) -> None:
        network = small_i2net()
        path = save(network.state_dict(), tmp_path / "model.pt")
        load_network(small_i2net(), str(path) if as_text else path)

    def test_a_missing_file_says_where_weights_come_from(self, tmp_path: Path) -> None:
        path = tmp_path / "model.pt"
        with pytest.raises(FileNotFoundError, match=re.escape(f"No weights at {path}. Train first")):
            load_network(small_i2net(), path)

    def test_a_folder_is_no_file_of_weights(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="No weights at"):
            load_network(small_i2net(), tmp_path)

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"", "empty"),
            (b"<!doctype html>", "a web page"),
            (b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS, whose file was not fetched"),
            (b"not a file of weights", "of another kind; it starts with b'not a file of weights'"),
            (b'\x10\0\0\0\0\0\0\0{"a": 1}', "in the safetensors format"),
        ],
        ids=["empty", "page", "pointer", "text", "safetensors"],
    )
    def test_garbage_is_refused(self, content: bytes, what: str, tmp_path: Path) -> None:
        path = tmp_path / "model.pt"
        path.write_bytes(content)
        said = f"{path} is not a file of weights that can be read safely: it is {what}"
        with pytest.raises(ValueError, match=re.escape(said)):
            load_network(small_i2net(), path)

    def test_a_file_that_holds_code_is_refused_and_does_not_run(self, tmp_path: Path) -> None:
        trace = tmp_path / "code_ran"

        class Payload:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (trace,)

        path = save({"network": Payload()}, tmp_path / "model.pt")
        with pytest.raises(
            ValueError, match=r"can be read safely: it is a file with objects other than tensors.*pathlib\.Path"
        ):
            load_network(small_i2net(), path)
        assert not trace.exists()

    @pytest.mark.parametrize(
        "content", [torch.zeros(3), [torch.zeros(3)], {"network": torch.zeros(3)}], ids=["tensor", "list", "nested"]
    )
    def test_a_file_that_holds_no_state_dict_is_refused(self, content: Any, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"model\.pt"):
            load_network(small_i2net(), save(content, tmp_path / "model.pt"))

    @pytest.mark.parametrize(
        ("other", "problem"),
        [
            pytest.param(
                {"out_channels": 3},
                "head.conv.weight is (3, 9, 1, 1), the network's (2, 9, 1, 1)",
                id="classes",
            ),
            pytest.param(
                {"num_learners": 4}, "decoder.gate_net.3.weight is (4, 7), the network's (3, 7)", id="learners"
            ),
            pytest.param({"pos_dim": 4}, "decoder.encodings.0.frequencies is not known", id="encoding"),
        ],
    )
    def test_weights_of_another_network_are_refused_by_name(
        self, other: dict[str, int], problem: str, tmp_path: Path
    ) -> None:
        network = small_i2net()
        before = copy_state(network)
        path = save(small_i2net(**other).state_dict(), tmp_path / "model.pt")
        with pytest.raises(ValueError, match=re.escape(problem)) as error:
            load_network(network, path)
        assert f"{path} does not fit this I2Net" in str(error.value)
        assert_same_state(network.state_dict(), before)  # nothing was filled halfway

    def test_an_unknown_name_is_refused(self, tmp_path: Path) -> None:
        network = small_i2net()
        path = save(network.state_dict() | {"surprise": torch.zeros(1)}, tmp_path / "model.pt")
        with pytest.raises(ValueError, match="surprise is not known"):
            load_network(network, path)

    def test_a_missing_name_is_refused(self, tmp_path: Path) -> None:
        network = small_i2net()
        state = copy_state(network)
        del state["head.conv.bias"]
        with pytest.raises(ValueError, match=r"head\.conv\.bias is missing"):
            load_network(network, save(state, tmp_path / "model.pt"))

    @pytest.mark.parametrize("number", [math.nan, math.inf])
    def test_numbers_that_are_not_finite_are_refused(self, number: float, tmp_path: Path) -> None:
        network = small_i2net()
        before, state = copy_state(network), copy_state(network)
        state["head.conv.bias"][1] = number
        with pytest.raises(ValueError, match=r"holds NaN or infinity in 1 tensor, the first is head\.conv\.bias"):
            load_network(network, save(state, tmp_path / "model.pt"))
        assert_same_state(network.state_dict(), before)

    def test_three_problems_are_named_and_the_others_counted(self, tmp_path: Path) -> None:
        network = small_i2net()
        state = {f"{name}_ema": value for name, value in network.state_dict().items()}
        counters = sum("num_batches_tracked" in name for name in state)
        others = 2 * len(state) - counters - 3  # every name is missing, but for the counters, and every name unknown
        with pytest.raises(ValueError, match=f"; and {others} more") as error:
            load_network(network, save(state, tmp_path / "model.pt"))
        assert str(error.value).count(" is missing") == 3


class TestLoadMatching:
    """Weights of other classes or channels: what fits is taken, what does not stays random and is named."""

    @pytest.mark.parametrize(
        ("other", "left"),
        [
            ({"out_channels": 3}, ["head.conv.weight", "head.conv.bias"]),
            ({"in_channels": 2}, ["encoder.stem.0.weight"]),
            ({}, []),
        ],
        ids=["classes", "channels", "same"],
    )
    def test_all_that_fits_is_taken(
        self, other: dict[str, int], left: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        trained, fresh = small_i2net(), small_i2net(**other)
        before = copy_state(fresh)
        with caplog.at_level("INFO"):
            assert load_matching(fresh, save(trained.state_dict(), tmp_path / "model.pt")) == left
        for name, value in fresh.state_dict().items():
            assert torch.equal(value, before[name] if name in left else trained.state_dict()[name]), name
        total = len(before)
        assert f"{total - len(left)} of {total} tensors from" in caplog.text
        assert not left or ("not found in" in caplog.text and left[0] in caplog.text)

    def test_weights_of_which_nothing_fits_are_refused(self, tmp_path: Path) -> None:
        network = small_i2net()
        before = copy_state(network)
        path = save(nn.Sequential(nn.Conv2d(1, 7, 3), nn.BatchNorm2d(7)).state_dict(), tmp_path / "model.pt")
        with pytest.raises(ValueError, match="fits no parameter of this I2Net"):
            load_matching(network, path)
        assert_same_state(network.state_dict(), before)

    def test_counters_of_batch_normalisation_alone_are_no_fit(self, tmp_path: Path) -> None:
        network = nn.BatchNorm2d(3)
        with pytest.raises(ValueError, match="fits no parameter"):
            load_matching(network, save(nn.BatchNorm2d(5).state_dict(), tmp_path / "model.pt"))

    def test_numbers_that_are_not_finite_are_refused(self, tmp_path: Path) -> None:
        state = copy_state(small_i2net())
        state["head.conv.bias"][0] = math.nan
        with pytest.raises(ValueError, match="holds NaN or infinity"):
            load_matching(small_i2net(), save(state, tmp_path / "model.pt"))

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="No weights at"):
            load_matching(small_i2net(), tmp_path / "model.pt")


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

    def test_the_published_file_is_asked_for_with_its_hash_checked(self, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("build", [glas_i2net, synapse_i2net, cityscapes_i2net])
def test_constructors_load_nothing(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a constructor reads or downloads weights")

    for function in ("torch.load", "torch.hub.load_state_dict_from_url", "torch.hub.download_url_to_file"):
        monkeypatch.setattr(function, refuse)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    build()
