"""Weights are loaded strictly and safely from files, and errors name what does not fit."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from i2net_bundle.networks import cityscapes_i2net, glas_i2net, synapse_i2net
from i2net_bundle.networks.weights import load_matching, load_network
from tests.networks.small_networks import small_i2net
from tests.networks.states import assert_same_state, copy_state, save


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

    def test_a_folder_is_not_a_file_of_weights(self, tmp_path: Path) -> None:
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

    def test_a_file_that_contains_code_is_refused_and_does_not_run(self, tmp_path: Path) -> None:
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
    def test_a_file_without_a_state_dict_is_refused(self, content: Any, tmp_path: Path) -> None:
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
        with pytest.raises(ValueError, match=r"contains NaN or infinity in 1 tensor, the first is head\.conv\.bias"):
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
        with pytest.raises(ValueError, match="contains NaN or infinity"):
            load_matching(small_i2net(), save(state, tmp_path / "model.pt"))

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="No weights at"):
            load_matching(small_i2net(), tmp_path / "model.pt")


@pytest.mark.parametrize("build", [glas_i2net, synapse_i2net, cityscapes_i2net])
def test_constructors_load_nothing(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a constructor reads or downloads weights")

    for function in ("torch.load", "torch.hub.load_state_dict_from_url", "torch.hub.download_url_to_file"):
        monkeypatch.setattr(function, refuse)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    build()
