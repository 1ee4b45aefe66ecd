"""Published weights after a run, and the weights they replace."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from i2net_bundle.training import publish_weights


class BiasValidator:
    """Scores a network by its bias, once per validation case; NaN stands for a score that is not defined."""

    def __init__(self, network: nn.Linear, cases: int) -> None:
        self.network, self.runs = network, 0
        self.data_loader = SimpleNamespace(dataset=[0] * cases)
        self.state: Any = SimpleNamespace(key_metric_name="dice", metrics={})

    def run(self) -> None:
        self.runs += 1
        self.state.metrics["dice"] = self.network.bias.item()


def weights(path: Path, score: float) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"weight": torch.zeros(1, 1), "bias": torch.tensor([score])}, path)
    return path.read_bytes()


def publish(folder: Path, cases: int) -> dict[str, Any]:
    network = nn.Linear(1, 1)
    validator: Any = BiasValidator(network, cases)
    publish_weights(folder / "run", folder / "models", network, validator)
    return json.loads((folder / "run" / "publication.json").read_text())


def score_of(path: Path) -> float:
    return float(torch.load(path, weights_only=True)["bias"])


@pytest.mark.parametrize(("before", "after", "published"), [(0.5, 0.6, True), (0.5, 0.5, True), (0.5, 0.4, False)])
def test_weights_that_score_lower_on_the_validation_cases_are_not_published(
    before: float, after: float, published: bool, tmp_path: Path
) -> None:
    weights(tmp_path / "models" / "model.pt", before)
    weights(tmp_path / "run" / "model.pt", after)
    record = publish(tmp_path, cases=2)
    assert record["published"] is published and record["validation_cases"] == 2
    assert (record["score_before"], record["score"]) == pytest.approx((before, after))
    assert score_of(tmp_path / "models" / "model.pt") == pytest.approx(max(before, after))
    kept = [score_of(path) for path in (tmp_path / "models").glob("model_until_*.pt")]
    assert kept == pytest.approx([before] if published else [])
    assert score_of(tmp_path / "run" / "model.pt") == pytest.approx(after)


def test_the_best_validated_epoch_is_preferred_to_the_last(tmp_path: Path) -> None:
    weights(tmp_path / "run" / "model.pt", 0.2)
    weights(tmp_path / "run" / "model_best.pt", 0.3)
    assert publish(tmp_path, cases=1)["weights"] == "model_best.pt"
    assert score_of(tmp_path / "models" / "model.pt") == pytest.approx(0.3)


@pytest.mark.parametrize(("cases", "after"), [(0, 0.1), (1, float("nan"))], ids=["no cases", "undefined score"])
def test_without_a_comparison_the_new_weights_are_published_and_the_old_ones_kept(
    cases: int, after: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = weights(tmp_path / "models" / "model.pt", 0.9)
    weights(tmp_path / "run" / "model.pt", 0.1)
    network = nn.Linear(1, 1)
    validator: Any = BiasValidator(network, cases)
    validator.run = lambda: validator.state.metrics.update(dice=after)
    with caplog.at_level("INFO", "i2net.training"):
        publish_weights(tmp_path / "run", tmp_path / "models", network, validator)
    assert "not compared" in caplog.text
    assert score_of(tmp_path / "models" / "model.pt") == pytest.approx(0.1)
    assert [path.read_bytes() for path in (tmp_path / "models").glob("model_until_*.pt")] == [before]


def test_weights_of_another_network_are_replaced_and_kept(tmp_path: Path) -> None:
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")
    (tmp_path / "models").mkdir()
    (tmp_path / "other.pt").rename(tmp_path / "models" / "model.pt")
    weights(tmp_path / "run" / "model.pt", 0.1)
    record = publish(tmp_path, cases=1)
    assert record["published"] and record["score_before"] is None
    assert "other" in torch.load(tmp_path / "models" / record["kept_as"], weights_only=True)


def test_the_settings_of_the_weights_are_published_with_them(tmp_path: Path) -> None:
    weights(tmp_path / "run" / "model.pt", 0.1)
    (tmp_path / "run" / "settings.json").write_text('{"network": {}}')
    assert publish(tmp_path, cases=0)["kept_as"] is None
    assert (tmp_path / "models" / "settings.json").read_text() == '{"network": {}}'
