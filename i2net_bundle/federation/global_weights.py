"""The averaged weights of a federation in the bundle's form: ``model.pt`` beside ``settings.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2net_bundle.networks.tensor_files import load_tensors, save_tensors
from i2net_bundle.workflow.run_folders import WEIGHTS_NAME
from i2net_bundle.workflow.run_records import SETTINGS_NAME, RunRecord, read_record, recordable_text, write_record


def received_weights(folder: Path, number: int) -> Path:
    """Path of the global weights that a site received for a round, numbered from 0, in the folder of its run."""
    return folder / "received" / f"round_{number}" / WEIGHTS_NAME


def as_saved(weights: Mapping[str, Any], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring weights into the order, shapes and types of a state dict; averages of whole numbers are rounded.

    Batch normalization counts its batches in whole numbers, and an average of them is none.

    Args:
        weights: arrays or tensors by name.
        like: state dict of the network.

    Raises:
        ValueError: names or sizes differ.
    """
    given = {name: torch.as_tensor(value) for name, value in weights.items()}
    differing = sorted(given.keys() ^ like.keys())
    differing += sorted(name for name in given.keys() & like.keys() if given[name].numel() != like[name].numel())
    if differing:
        raise ValueError(
            f"The weights of the federation are those of another network: {differing[0]} differs ({len(differing)} in "
            "all). Use the same configuration files at the server and at all sites."
        )
    return {name: _typed(given[name].reshape(value.shape), value.dtype) for name, value in like.items()}


def _typed(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if dtype.is_floating_point else value.double().round().to(dtype)


def collect_weights(last: Path, initial: Path, runs: Sequence[Path], out: Path, rounds: int) -> list[Path]:
    """Write the global weights after each round, in folders ``round_1``, ``round_2``, ….

    Args:
        last: the weights after the last round, as NVFlare's server saves them.
        initial: weights before the first round, whose names and types the others get.
        runs: folders of the sites' runs.
        out: folder to write.
        rounds: number of rounds.

    Returns:
        paths of the weights, by round.
    """
    record = joined_record([read_record(run / SETTINGS_NAME) for run in runs])
    paths = [out / f"round_{number}" / WEIGHTS_NAME for number in range(1, rounds + 1)]
    for number, path in enumerate(paths, 1):
        after = load_tensors(last)["model"] if number == rounds else load_tensors(received_weights(runs[0], number))
        save_tensors(as_saved(after, load_tensors(initial)), path)
        write_record(record, path.parent)
    return paths


def joined_record(records: Sequence[RunRecord]) -> RunRecord:
    """Join the records of the sites' runs: their common settings, and the training data of all.

    Raises:
        ValueError: the sites trained with different settings.
    """
    names = dict.fromkeys(record.trained_on for record in records if record.trained_on)
    licences = {record.data_licence for record in records}
    of_all: dict[str, Any] = {
        "path": None,
        "trained_on": recordable_text("; ".join(names)) if names else None,
        "training_cases": sum(record.training_cases or 0 for record in records),
        "data_licence": licences.pop() if len(licences) == 1 else None,
    }
    joined = [replace(record, **of_all) for record in records]
    if any(record.as_json() != joined[0].as_json() for record in joined):
        raise ValueError("The sites trained with different settings. Use the same configuration files at all sites.")
    return joined[0]
