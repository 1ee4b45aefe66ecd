"""Read an input as the commands do. A target returns if the input was read or refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from fuzzing.samples import make_network
from i2net_bundle.checks.dataset import check_path
from i2net_bundle.data.datalist import read_datalist
from i2net_bundle.io.findings import DataError, errors
from i2net_bundle.io.formats import is_volume
from i2net_bundle.networks.weights import load_network
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.workflow.errors import root_cause

READ, REFUSED = "read", "refused"


class DamageAcceptedError(AssertionError):
    """Damaged weights were loaded with changed numbers."""


class WordlessError(AssertionError):
    """A message does not name the file, or would change the state of a terminal."""


class Targets:
    """The readers, with what they need once: networks with random weights that predict what can be read.

    Args:
        weights: files of random weights by the kind of task, see `write_predictors`.
    """

    def __init__(self, weights: dict[str, Path]) -> None:
        self.predictors = {
            "ct": Predictor(weights["ct"], "ct", device="cpu", overrides={"image_size": [32, 32]}),
            "histology": Predictor(weights["histology"], "histology", device="cpu"),
        }
        self.network = make_network()
        self.state = {name: value.clone() for name, value in self.network.state_dict().items()}

    def run(self, kind: str, target: Path) -> str:
        """Read one input.

        Args:
            kind: key of `fuzzing.samples.KINDS`.
            target: file or folder, as `Sample.target`.

        Returns:
            `READ` or `REFUSED`.

        Raises:
            Exception: a failure; whatever a reader raises that is not an error in words.
        """
        if kind.startswith("weights"):
            return self._weights(target)
        if kind == "settings":
            return self._settings(target)
        return self._images(kind, target)

    def _images(self, kind: str, target: Path) -> str:
        report = check_path(target)
        for finding in report.findings:
            _require_plain(str(finding), target.name)
        if kind == "data_list":
            return self._data_list(target)
        if kind == "mask":
            return REFUSED if errors(report.findings) else READ
        try:
            self.predictors["ct" if is_volume(target) or target.is_dir() else "histology"].predict(target)
        except DataError as refusal:
            _require_plain(str(refusal), target.name)
            return REFUSED
        return READ

    def _data_list(self, folder: Path) -> str:
        try:
            read_datalist(folder / "dataset.json")
        except (DataError, ValueError, OSError) as refusal:
            _require_plain(str(refusal), "dataset.json")
            return REFUSED
        return READ

    def _settings(self, weights: Path) -> str:
        try:
            Predictor(weights, device="cpu")
        except Exception as error:
            refusal = root_cause(error)
            if not isinstance(refusal, ValueError | OSError):
                raise
            _require_plain(str(refusal), "settings.json", weights.name)
            return REFUSED
        return READ

    def _weights(self, path: Path) -> str:
        try:
            load_network(self.network, path)
        except (ValueError, OSError) as refusal:
            _require_plain(str(refusal), path.name)
            return REFUSED
        changed = [
            name for name, value in self.network.state_dict().items() if not torch.equal(value, self.state[name])
        ]
        if changed:
            raise DamageAcceptedError(f"{len(changed)} tensors differ, the first is {changed[0]}")
        return READ


def _require_plain(message: str, *names: str) -> None:
    """Require that a message names the file and has no control characters."""
    if not any(name in message for name in names):
        raise WordlessError(f"the message does not name {' or '.join(names)}: {message[:500]!r}")
    if any((ord(character) < 32 and character != "\n") or ord(character) == 127 for character in message):
        raise WordlessError(f"the message contains control characters: {message[:500]!r}")


def make_run(weights: dict[str, Path]) -> Callable[[str, Path], str]:
    """Create `Targets` in a child process."""
    return Targets(weights).run
