"""What a run was made with, kept beside its weights, so that nobody resumes or uses them otherwise unawares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from i2net_bundle.io.writing import written_whole
from i2net_bundle.workflow.describe import describe

SETTINGS_NAME = "settings.json"


class SettingsRecord:
    """Handler that keeps a run's settings in ``settings.json``, and refuses to resume the run with others.

    Args:
        output_dir: the run's folder.
        network: what its weights hang on, see `require_settings`.
        training: what the course of training hangs on.
        resume: whether the run continues the one that lies there.
    """

    def __init__(
        self, output_dir: str | Path, network: Mapping[str, Any], training: Mapping[str, Any], resume: bool = False
    ) -> None:
        self.path = Path(output_dir) / SETTINGS_NAME
        self.settings = {"network": describe(network), "training": describe(training)}
        self.resume = resume

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, before the handler that resumes it."""
        engine.add_event_handler(Events.STARTED, self._start)

    def _start(self) -> None:
        if self.resume and self.path.is_file():
            saved = _read(self.path)
            for part, settings in self.settings.items():
                _refuse_differences(saved[part], settings, f"{self.path} is of a run", "Resume with the same settings.")
        elif idist.get_rank() == 0:
            with written_whole(self.path) as temporary:
                temporary.write_text(json.dumps(self.settings, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def require_settings(weights: str | Path, settings: Mapping[str, Any]) -> None:
    """Compare what weights were trained with, where ``settings.json`` lies beside them, with what they are used with.

    Args:
        weights: file of weights.
        settings: name to value: input size, classes, intensity transform.

    Raises:
        ValueError: they differ; names the settings. Or the record cannot be read.
    """
    path = Path(weights).with_name(SETTINGS_NAME)
    if path.is_file():
        saved = _read(path)["network"]
        remedy = "Use the weights with the settings they were trained with."
        _refuse_differences(saved, describe(settings), f"{weights} was trained", remedy)


def recorded_settings(weights: str | Path) -> dict[str, Any]:
    """What a network must be built with for weights: ``image_size`` and ``num_learners`` of the run they are from.

    Args:
        weights: file of weights.

    Returns:
        empty where no ``settings.json`` lies beside them.

    Raises:
        ValueError: the record cannot be read.
    """
    path = Path(weights).with_name(SETTINGS_NAME)
    if not path.is_file():
        return {}
    saved = _read(path)
    found = {**saved["training"], **saved["network"]}
    return {name: found[name] for name in ("image_size", "num_learners") if name in found}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """A record's two parts; that of training may be missing."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return {"network": dict(saved["network"]), "training": dict(saved.get("training", {}))}
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise ValueError(
            f"{path} is no record of a run's settings ({type(cause).__name__}: {cause}). Copy it again from the run "
            "that the weights are of, or remove it to use them unchecked."
        ) from cause


def _refuse_differences(saved: Mapping[str, Any], wanted: Mapping[str, Any], whose: str, remedy: str) -> None:
    wanted = json.loads(json.dumps(wanted))  # as they would be read back
    differing = [name for name in wanted if name in saved and saved[name] != wanted[name]]
    if differing:
        shown = "; ".join(f"{name} {json.dumps(saved[name])}, here {json.dumps(wanted[name])}" for name in differing)
        raise ValueError(f"{whose} with {shown}. {remedy}")
