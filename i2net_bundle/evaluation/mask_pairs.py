"""Pair the masks of a folder of predictions with labels, by their names."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from i2net_bundle.io.counted import counted
from i2net_bundle.io.findings import DataError, Finding, error
from i2net_bundle.io.formats import image_stem, known_suffixes
from i2net_bundle.io.masks import INSTANCES_ENDING

logger = logging.getLogger("i2net.scores")

_ROLE = re.compile(r"^(?:img|label)(?=\d)|_(?:mask|anno|label|seg|pred)$", re.IGNORECASE)


def case_key(name: str) -> str:
    """Return the part that the file names of a prediction and its label have in common.

    >>> case_key("img0001_mask"), case_key("label0001"), case_key("testA_1_anno")
    ('0001', '0001', 'testA_1')
    """
    return _ROLE.sub("", name)


def matching_key(key: str, labels: Mapping[str, Any]) -> str:
    """Return the key, or that of its case if the name of a prediction ends with nnU-Net's first channel."""
    without_channel = key.removesuffix("_0000")
    return without_channel if key not in labels and without_channel in labels else key


def masks_of(folder: Path, of_predictions: bool = False) -> dict[str, Path]:
    """Find the masks of a folder.

    Args:
        folder: the folder.
        of_predictions: leave out the instances that prediction writes beside its masks.

    Returns:
        paths by the name of their case.

    Raises:
        DataError: two masks belong to one case.
        FileNotFoundError: there is no such folder, or no mask in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder. Check the path.")
    files = sorted(path for path in folder.glob("[!.]*") if path.name.lower().endswith(known_suffixes()))
    if of_predictions:
        of_masks = {instances_beside(path) for path in files}
        files = [path for path in files if path not in of_masks]
    annotations = [path for path in files if path.stem.endswith("_anno")]
    masks: dict[str, Path] = {}
    for path in annotations or files:  # GlaS has images and annotations in one folder
        key = case_key(image_stem(path))
        if key in masks:
            remedy = "Keep one mask per case in the folder."
            raise DataError([error("mask-names", path, f"belongs to the same case as {masks[key].name}", remedy)])
        masks[key] = path
    if not masks:
        raise FileNotFoundError(f"{folder} contains no mask. The formats are {', '.join(known_suffixes())}.")
    return masks


def instances_beside(mask: Path) -> Path | None:
    """Path of the instances that prediction writes beside a mask; None if the file is not named as a mask."""
    stem = image_stem(mask)
    return mask.with_name(stem.removesuffix("_mask") + INSTANCES_ENDING) if stem.endswith("_mask") else None


def paired(
    predictions: Mapping[str, Path],
    labels: Mapping[str, Mapping[str, Any]],
    pred_dir: Path,
    label_dir: Path,
    allow_missing: bool,
) -> list[tuple[Path, Mapping[str, Any]]]:
    """Pair predictions with labelled cases of the same name.

    Args:
        predictions: masks by the name of their case.
        labels: cases by name.
        pred_dir: folder of the predictions, for messages.
        label_dir: folder of the labels, for messages.
        allow_missing: leave out what has no partner; otherwise it is an error.

    Raises:
        DataError: files lack a partner and are not to be left out, or none has one.
    """
    without_prediction = [case for key, case in labels.items() if key not in predictions or "label" not in case]
    without_label = [path for key, path in predictions.items() if key not in labels]
    pairs = [(predictions[key], case) for key, case in labels.items() if key in predictions and "label" in case]
    findings = []
    if without_prediction:
        listed = _few(case["case"] for case in without_prediction)
        findings.append(
            _unpaired(pred_dir, f"has no prediction for {counted(len(without_prediction), 'case')}: {listed}")
        )
    if without_label:
        listed = _few(path.name for path in without_label)
        findings.append(_unpaired(label_dir, f"has no label for {counted(len(without_label), 'prediction')}: {listed}"))
    if findings and (not allow_missing or not pairs):
        raise DataError(findings)
    for finding in findings:
        logger.warning(f"{finding.file}: {finding.problem}. They are skipped.")
    return pairs


def _unpaired(folder: Path, problem: str) -> Finding:
    return error("unpaired", folder, problem, "Add the missing files, or skip these with --allow-missing.")


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (", ..." if len(listed) > 5 else "")
