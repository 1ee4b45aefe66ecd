"""Pictures and annotations of a source, read whole and taken only as they were distributed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from i2net_bundle.checks.histology import TRAINING_UM_PER_PX, load_image, load_mask, pair_findings
from i2net_bundle.io.findings import DataError, Finding, error
from i2net_bundle.io.options import HistologyOptions

_AS_DISTRIBUTED = "Take the file as distributed, or download it again."


def read_pair(image: Path, label: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read an image and its annotation.

    Returns:
        ``read_rgb(image)``, (H, W, 3), and ``read_ids(label)``, (H, W).

    Raises:
        DataError: with the faults of both files, or their sizes differ.
    """
    findings: list[Finding] = []
    arrays = []
    for path, read in ((image, read_rgb), (label, read_ids)):
        try:
            arrays.append(read(path))
        except DataError as fault:
            findings += fault.findings
    if not findings:
        sizes = [(array.shape[1], array.shape[0]) for array in arrays]
        findings = pair_findings(image, sizes[0], label, sizes[1])
    if findings:
        raise DataError(findings)
    return arrays[0], arrays[1]


def read_rgb(path: Path) -> np.ndarray:
    """Read an image to its end: RGB, opaque RGBA or palette.

    Returns:
        (H, W, 3), uint8.

    Raises:
        DataError: the file cannot be read, is not 8-bit colour, or partly transparent.
    """
    # any µm/px goes here; naming it keeps the file's resolution, which means nothing in these sets, from being judged
    pixels, doubts = load_image(path, HistologyOptions(um_per_px=TRAINING_UM_PER_PX))
    with Image.open(path) as image:
        mode = image.mode
    if doubts or mode not in ("RGB", "RGBA", "P"):
        problem = doubts[0].problem if doubts else f"is not RGB (mode {mode})"
        raise DataError([error("not-rgb", path, problem, _AS_DISTRIBUTED)])
    return pixels


def read_ids(path: Path) -> np.ndarray:
    """Read an annotation of one channel to its end; a palette file gives its indices.

    Returns:
        (H, W), uint8, or uint16 where ids exceed 255.

    Raises:
        DataError: the file cannot be read, has colours, or holds nothing but 0 and 255.
    """
    try:
        ids, _ = load_mask(path, HistologyOptions(label_values="instances"))
    except DataError as fault:
        # whoever prepares a public set can declare nothing about its annotations
        findings = [dataclasses.replace(finding, remedy=_AS_DISTRIBUTED) for finding in fault.findings]
        raise DataError(findings) from fault
    return ids.astype(np.uint8 if ids.max() <= 255 else np.uint16)
