"""Read and check a volume, one per channel, its label, and the pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from i2net_bundle.checks.anatomy import anatomy_findings, measure_organs
from i2net_bundle.checks.empty_labels import empty_label_findings
from i2net_bundle.checks.intensities import constant_findings, intensity_findings, nonfinite_findings
from i2net_bundle.io.channels import is_ct
from i2net_bundle.io.findings import DataError, Finding, enforce, error, errors, warning
from i2net_bundle.io.geometry import describe_affine, has_geometry, largest_corner_distance, same_grid
from i2net_bundle.io.nifti import stacked
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.io.privacy import shown_path
from i2net_bundle.io.volumes import read_volume

ImageFiles = str | Path | Sequence[str | Path]
"""One file of all channels, or one file per channel."""


def load_volume(files: ImageFiles, options: VolumeOptions) -> tuple[nib.Nifti1Image, list[Finding]]:
    """Read an image's stored values; CT is in HU.

    Args:
        files: volume file, or folder of a DICOM series, see `read_volume`; for several channels, one per channel or one
            4D file.
        options: channels, and what the user declares.

    Returns:
        the image (X, Y, Z), or (X, Y, Z, C) for several channels, in memory, with its affine in mm; and the warnings.

    Raises:
        DataError: a file cannot be used, or two channels have different grids; names them, the fault and the remedy.
    """
    channels, paths = options.channels, _listed(files)
    if len(paths) not in (1, len(channels)):
        problem = f"comes with {len(paths)} files, and the channels are {', '.join(channels)}"
        raise DataError([error("channels", paths[0], problem, "Provide one file per channel.")])
    if len(paths) == len(channels):
        images, findings = _load_channels(paths, options)
    else:
        images, findings = _load_4d(paths[0], options)
    return (images[0] if len(images) == 1 else stacked(images)), findings


def _load_channels(paths: Sequence[str | Path], options: VolumeOptions) -> tuple[list[nib.Nifti1Image], list[Finding]]:
    """Read one file per channel, on one grid."""
    images: list[nib.Nifti1Image] = []
    findings: list[Finding] = []
    for path, channel in zip(paths, options.channels, strict=True):
        image, found = read_volume(path, replace(options, channels=(channel,)))
        enforce(_grid_findings(paths[0], images[0], path, image) if images else [])
        voxels, more = _channel(np.asanyarray(image.dataobj), path, channel, options)
        images.append(nib.Nifti1Image(voxels, image.affine, image.header, dtype=voxels.dtype))
        findings += found + more
    return images, findings


def _load_4d(path: str | Path, options: VolumeOptions) -> tuple[list[nib.Nifti1Image], list[Finding]]:
    """Read one file that contains all channels as volumes."""
    image, findings = read_volume(path, options, num_volumes=len(options.channels))
    images = []
    for number, channel in enumerate(options.channels):
        voxels, found = _channel(np.asanyarray(image.dataobj)[..., number], path, channel, options)
        images.append(nib.Nifti1Image(voxels, image.affine, image.header, dtype=voxels.dtype))
        findings += found
    return images, findings


def _channel(
    voxels: np.ndarray, path: str | Path, channel: str, options: VolumeOptions
) -> tuple[np.ndarray, list[Finding]]:
    """Check the voxels of one channel (X, Y, Z), and apply the declared fixes; return them and the warnings.

    Raises:
        DataError: the voxels cannot be used.
    """
    findings: list[Finding] = []
    if options.fill_nonfinite is None:
        enforce(nonfinite_findings(voxels, path))
    elif np.issubdtype(voxels.dtype, np.floating):
        fill = options.fill_nonfinite
        filled = int((~np.isfinite(voxels)).sum())
        if filled:
            unit = " HU" if is_ct(channel) else ""
            problem = f"{filled} voxels without a finite value were filled with {fill:g}{unit}"
            findings.append(warning("nonfinite", path, problem, "Check that they lie outside the body."))
            voxels = np.nan_to_num(voxels, nan=fill, posinf=fill, neginf=fill)
    if is_ct(channel):
        if options.hu_offset:
            voxels = voxels.astype(np.float32) + np.float32(options.hu_offset)
        found = [] if options.any_intensities else intensity_findings(voxels, path)
    else:
        found = constant_findings(voxels, path, channel, alone=len(options.channels) == 1)
    enforce(errors(found))
    return _narrowed(voxels), findings + found


def _grid_findings(
    first_path: str | Path, first: nib.Nifti1Image, path: str | Path, image: nib.Nifti1Image
) -> list[Finding]:
    """Compare the grids of two channels."""
    remedy = "Resample the channels of a case to one grid first."
    if first.shape != image.shape:
        problem = f"has shape {image.shape}, the first channel {shown_path(first_path)} {first.shape}"
        return [error("channel-grid", path, problem, remedy)]
    if same_grid(first.affine, image.affine, first.shape):
        return []
    apart = largest_corner_distance(first.affine, image.affine, first.shape)
    problem = (
        f"is {apart:.1f} mm away from the first channel {shown_path(first_path)}: that channel is "
        f"{describe_affine(first.affine)}; this one is {describe_affine(image.affine)}"
    )
    return [error("channel-grid", path, problem, remedy)]


def load_volume_label(path: str | Path, options: VolumeOptions) -> tuple[nib.Nifti1Image, list[Finding]]:
    """Read a label map of whole numbers.

    Args:
        path: volume file, or the folder of a DICOM series; see `read_volume`.
        options: what the user declares.

    Returns:
        the label map (X, Y, Z), uint8, with its affine in mm, and the warnings.

    Raises:
        DataError: the file cannot be used; names it, the fault and the remedy.
    """
    image, findings = read_volume(path, options, needs_orientation=options.geometry != "image")
    labels = np.asanyarray(image.dataobj)
    if np.issubdtype(labels.dtype, np.floating):
        broken = ~np.isfinite(labels) | (np.rint(labels) != labels)
        if broken.any():
            values = ", ".join(f"{value:g}" for value in np.unique(labels[broken])[:3])
            remedy = "Use the original label map, or resample it by nearest neighbour."
            enforce([error("labels", path, f"contains labels that are not whole numbers ({values}, ...)", remedy)])
    enforce(_range_findings(labels, path, options))
    labels = labels.astype(np.uint8)
    return nib.Nifti1Image(labels, image.affine, image.header, dtype=labels.dtype), findings


def load_volume_pair(
    files: ImageFiles, label_path: str | Path, options: VolumeOptions
) -> tuple[nib.Nifti1Image, nib.Nifti1Image, list[Finding]]:
    """Read an image and its label on one grid.

    Args:
        files: the image; see `load_volume`.
        label_path: the image's label.
        options: what the user declares.

    Returns:
        image and label with one common header, and the warnings.

    Raises:
        DataError: a file cannot be used, or the grids differ and ``options`` does not choose one.
    """
    image, findings = load_volume(files, options)
    label, found = load_volume_label(label_path, options)
    joined = pair_findings(_listed(files)[0], image, label_path, label, options)
    enforce(errors(joined))
    affine = _common_affine(image, label, options)
    image, label = (nib.Nifti1Image(part.dataobj, affine, part.header) for part in (image, label))
    return image, label, findings + found + joined


def check_volume(files: ImageFiles, label_path: str | Path | None, options: VolumeOptions) -> list[Finding]:
    """Find the faults of an image and its label; faults are returned, not raised.

    Reading stops at a file's first error; all warnings up to it are returned.

    Args:
        files: the image; see `load_volume`.
        label_path: the image's label, if it has one.
        options: what the user declares.
    """
    findings: list[Finding] = []
    loaded: list[nib.Nifti1Image] = []
    reading = [lambda: load_volume(files, options)]
    if label_path is not None:
        reading.append(lambda: load_volume_label(label_path, options))
    for read in reading:
        try:
            image, found = read()
        except DataError as fault:
            findings += fault.findings
        else:
            findings += found
            loaded.append(image)
    if label_path is not None and len(loaded) == 2:
        findings += empty_label_findings(label_path, not np.any(loaded[1].dataobj))
        findings += pair_findings(_listed(files)[0], loaded[0], label_path, loaded[1], options)
    return findings


def pair_findings(
    image_path: str | Path,
    image: nib.Nifti1Image,
    label_path: str | Path,
    label: nib.Nifti1Image,
    options: VolumeOptions,
) -> list[Finding]:
    """Compare the grids of an image and its label, and the label with anatomy.

    Args:
        image_path: for the message.
        image: (X, Y, Z), or (X, Y, Z, C) for several channels, affine in mm.
        label_path: for the message.
        label: whole numbers (X, Y, Z), affine in mm.
        options: which header to use, and the classes; without classes the anatomy is not checked.
    """
    findings = []
    shape = image.shape[:3]
    if shape != label.shape:
        problem = f"has shape {label.shape}, its image {shown_path(image_path)} {shape}"
        return [error("shape", label_path, problem, "Use the label that belongs to this image, on the same grid.")]
    if not same_grid(image.affine, label.affine, shape):
        apart = largest_corner_distance(image.affine, label.affine, shape)
        problem = (
            f"is {apart:.1f} mm away from its image {shown_path(image_path)}: the image is "
            f"{describe_affine(image.affine)}; the label is {describe_affine(label.affine)}"
        )
        if options.geometry is None:
            remedy = (
                "If the two match voxel by voxel, choose which header to use with geometry: image or geometry: label "
                "(--geometry of i2net); otherwise resample the label to the image's grid."
            )
            return [error("geometry", label_path, problem, remedy)]
        remedy = f"The {options.geometry}'s header was used for both, as requested."
        findings.append(warning("geometry", label_path, problem, remedy))
    if options.classes is not None:
        organs = measure_organs(np.asarray(label.dataobj), _common_affine(image, label, options))
        organs.pop(options.ignore_id or 0, None)
        findings += anatomy_findings(organs, options.classes, label_path, has_geometry(label))
    return findings


def _common_affine(image: nib.Nifti1Image, label: nib.Nifti1Image, options: VolumeOptions) -> np.ndarray:
    """Return the common affine: the image's unless the options choose the label's."""
    affine: np.ndarray = label.affine if options.geometry == "label" else image.affine
    return affine


def _range_findings(labels: np.ndarray, path: str | Path, options: VolumeOptions) -> list[Finding]:
    largest = len(options.classes) - 1 if options.classes is not None else 255
    if labels.min() >= 0 and labels.max() <= largest:
        return []
    values = np.unique(labels)
    wrong = values[(values < 0) | (values > largest)]
    wrong = wrong[wrong != options.ignore_id] if options.ignore_id is not None else wrong
    if not wrong.size:
        return []
    named = f" ({_few(options.class_names)})" if options.class_names is not None else ""
    classes = f"the classes are 0 to {largest}{named}"
    remedy = (
        "Correct the labels of the data list, or renumber the mask; `i2net prepare` does it for declared numberings."
    )
    if set(values.tolist()) == {0, 255}:
        return [error("labels", path, f"is a mask of 0 and 255; {classes}", remedy)]
    held = _few([f"{value:g}" for value in wrong])
    which = "is no class" if len(wrong) == 1 else "are no classes"
    return [error("labels", path, f"contains {held}, which {which}; {classes}", remedy)]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")


def _listed(files: ImageFiles) -> list[str | Path]:
    return [files] if isinstance(files, str | Path) else list(files)


def _narrowed(voxels: np.ndarray) -> np.ndarray:
    """Convert voxels to int16 if that is lossless, else to float32."""
    if voxels.dtype == np.int16:
        return voxels
    narrow = voxels.astype(np.int16) if voxels.min() >= -32768 and voxels.max() <= 32767 else None
    return narrow if narrow is not None and np.array_equal(narrow, voxels) else voxels.astype(np.float32)
