"""Read a source's pictures and annotations, and accept them only as distributed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from i2net_bundle.checks.histology import TRAINING_UM_PER_PX, load_image, load_mask, pair_findings
from i2net_bundle.io.findings import DataError, Finding, error
from i2net_bundle.io.options import HistologyOptions

_AS_DISTRIBUTED = "Use the file as distributed, or download it again."


def read_pair(image: Path, label: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read an image and its annotation.

    Returns:
        ``read_rgb(image)``, (H, W, 3), and ``read_ids(label)``, (H, W).

    Raises:
        DataError: a file cannot be used, or their sizes differ; lists the faults of both.
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
    """Decode a whole image: RGB, opaque RGBA or palette.

    Returns:
        (H, W, 3), uint8.

    Raises:
        DataError: the file cannot be read, is not 8-bit colour, or partly transparent.
    """
    # these sets' recorded resolutions are meaningless; a declared µm/px keeps them from being checked
    pixels, doubts = load_image(path, HistologyOptions(um_per_px=TRAINING_UM_PER_PX))
    with Image.open(path) as image:
        mode = image.mode
    if doubts or mode not in ("RGB", "RGBA", "P"):
        problem = doubts[0].problem if doubts else f"is not RGB (mode {mode})"
        raise DataError([error("not-rgb", path, problem, _AS_DISTRIBUTED)])
    return pixels


def read_ids(path: Path) -> np.ndarray:
    """Decode a whole single-channel annotation; a palette file yields its indices.

    Returns:
        (H, W), uint8, or uint16 where ids exceed 255.

    Raises:
        DataError: the file cannot be read, has colours, or contains nothing but 0 and 255.
    """
    try:
        ids, _ = load_mask(path, HistologyOptions(label_values="instances"))
    except DataError as fault:
        # the usual remedies, declarations, do not apply to a public set
        findings = [dataclasses.replace(finding, remedy=_AS_DISTRIBUTED) for finding in fault.findings]
        raise DataError(findings) from fault
    return ids.astype(np.uint8 if ids.max() <= 255 else np.uint16)
