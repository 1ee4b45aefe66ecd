"""A CT file, its label, and the two together: read, checked, and mended where the user has said how."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from i2net_bundle.checks.anatomy import anatomy_findings, measure_organs
from i2net_bundle.checks.intensities import intensity_findings, nonfinite_findings
from i2net_bundle.io.findings import DataError, Finding, enforce, error, errors, warning
from i2net_bundle.io.nifti import describe_affine, has_geometry, largest_corner_distance, same_grid
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.io.privacy import shown_path
from i2net_bundle.io.volumes import read_volume


def load_ct(path: str | Path, options: VolumeOptions) -> tuple[nib.Nifti1Image, list[Finding]]:
    """Read a CT in HU.

    Args:
        path: volume file, or the folder of a DICOM series; see `read_volume`.
        options: choices where the file leaves one.

    Returns:
        the image (X, Y, Z) in memory, with its affine in mm, and the warnings.

    Raises:
        DataError: the file cannot be used; names it, the fault and the remedy.
    """
    image, findings = read_volume(path, options)
    voxels = np.asanyarray(image.dataobj)
    if options.fill_nonfinite is None:
        enforce(nonfinite_findings(voxels, path))
    elif np.issubdtype(voxels.dtype, np.floating):
        filled = int((~np.isfinite(voxels)).sum())
        if filled:
            problem = f"{filled} voxels without a finite value were filled with {options.fill_nonfinite:g} HU"
            findings.append(warning("nonfinite", path, problem, "Check that they lie outside the body."))
            voxels = np.nan_to_num(
                voxels, nan=options.fill_nonfinite, posinf=options.fill_nonfinite, neginf=options.fill_nonfinite
            )
    if options.hu_offset:
        voxels = voxels.astype(np.float32) + np.float32(options.hu_offset)
    if not options.any_intensities:
        found = intensity_findings(voxels, path)
        enforce(errors(found))
        findings += found
    voxels = _narrowed(voxels)
    return nib.Nifti1Image(voxels, image.affine, image.header, dtype=voxels.dtype), findings


def load_ct_label(path: str | Path, options: VolumeOptions) -> tuple[nib.Nifti1Image, list[Finding]]:
    """Read a label map of whole numbers.

    Args:
        path: volume file, or the folder of a DICOM series; see `read_volume`.
        options: choices where the file leaves one.

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
            remedy = "Give the label map itself, resampled by nearest neighbour if at all."
            enforce([error("labels", path, f"holds labels that are not whole numbers ({values}, ...)", remedy)])
    enforce(_range_findings(labels, path, options.class_names))
    labels = labels.astype(np.uint8)
    return nib.Nifti1Image(labels, image.affine, image.header, dtype=labels.dtype), findings


def load_ct_pair(
    image_path: str | Path, label_path: str | Path, options: VolumeOptions
) -> tuple[nib.Nifti1Image, nib.Nifti1Image, list[Finding]]:
    """Read a CT and its label on one grid.

    Args:
        image_path: volume file, or the folder of a DICOM series; see `read_volume`.
        label_path: the CT's label.
        options: choices where the files leave one.

    Returns:
        image and label under the header that holds for both, and the warnings.

    Raises:
        DataError: a file cannot be used, or the two differ in grid and ``options`` does not say whose holds.
    """
    image, findings = load_ct(image_path, options)
    label, found = load_ct_label(label_path, options)
    joined = pair_findings(image_path, image, label_path, label, options)
    enforce(errors(joined))
    affine = _common_affine(image, label, options)
    image, label = (nib.Nifti1Image(part.dataobj, affine, part.header) for part in (image, label))
    return image, label, findings + found + joined


def check_ct(image_path: str | Path, label_path: str | Path | None, options: VolumeOptions) -> list[Finding]:
    """Find the faults of a CT and its label; none is raised.

    Of each file the first error that keeps it from being read further is found, and every warning.

    Args:
        image_path: volume file, or the folder of a DICOM series; see `read_volume`.
        label_path: the CT's label, if it has one.
        options: choices where the files leave one.
    """
    findings: list[Finding] = []
    loaded: list[nib.Nifti1Image] = []
    for path, load in ((image_path, load_ct), (label_path, load_ct_label)):
        if path is None:
            continue
        try:
            image, found = load(path, options)
        except DataError as fault:
            findings += fault.findings
        else:
            findings += found
            loaded.append(image)
    if label_path is not None and len(loaded) == 2:
        findings += pair_findings(image_path, loaded[0], label_path, loaded[1], options)
    return findings


def pair_findings(
    image_path: str | Path,
    image: nib.Nifti1Image,
    label_path: str | Path,
    label: nib.Nifti1Image,
    options: VolumeOptions,
) -> list[Finding]:
    """Do an image and its label lie on one grid, and the organs where organs lie?

    Args:
        image_path: for the message.
        image: the CT (X, Y, Z), affine in mm.
        label_path: for the message.
        label: whole numbers, likewise.
        options: whose header holds, and the names of the classes; without names organs are not judged.
    """
    findings = []
    if image.shape != label.shape:
        problem = f"has shape {label.shape}, its image {shown_path(image_path)} {image.shape}"
        return [error("shape", label_path, problem, "Give the label of this very image, on its grid.")]
    if not same_grid(image.affine, label.affine, image.shape):
        apart = largest_corner_distance(image.affine, label.affine, image.shape)
        problem = (
            f"lies {apart:.1f} mm off its image {shown_path(image_path)}: the image is "
            f"{describe_affine(image.affine)}; the label {describe_affine(label.affine)}"
        )
        if options.geometry is None:
            remedy = (
                "If the two match voxel by voxel, choose whose header holds with geometry: image or geometry: label "
                "(--geometry of i2net); else resample the label to the image's grid."
            )
            return [error("geometry", label_path, problem, remedy)]
        remedy = f"The {options.geometry}'s header was taken for both, as chosen."
        findings.append(warning("geometry", label_path, problem, remedy))
    if options.class_names is not None:
        organs = measure_organs(np.asarray(label.dataobj), _common_affine(image, label, options))
        findings += anatomy_findings(organs, options.class_names, label_path, has_geometry(label))
    return findings


def _common_affine(image: nib.Nifti1Image, label: nib.Nifti1Image, options: VolumeOptions) -> np.ndarray:
    """The affine that holds for both: a label follows its image unless told otherwise."""
    affine: np.ndarray = label.affine if options.geometry == "label" else image.affine
    return affine


def _range_findings(labels: np.ndarray, path: str | Path, class_names: tuple[str, ...] | None) -> list[Finding]:
    low, high = int(labels.min()), int(labels.max())
    largest = len(class_names) - 1 if class_names is not None else 255
    if low >= 0 and high <= largest:
        return []
    remedy = "Map the labels to the network's classes first: `i2net prepare` does it for declared numberings."
    if high == 255 and np.isin(np.unique(labels), (0, 255)).all():
        return [error("labels", path, "is a mask of 0 and 255, and label 255 is no class", remedy)]
    classes = f"the classes are 0 to {largest}"
    return [error("labels", path, f"holds labels from {low} to {high}; {classes}", remedy)]


def _narrowed(voxels: np.ndarray) -> np.ndarray:
    """CT numbers as int16 where that loses nothing, else as float32."""
    if voxels.dtype == np.int16:
        return voxels
    narrow = voxels.astype(np.int16) if voxels.min() >= -32768 and voxels.max() <= 32767 else None
    return narrow if narrow is not None and np.array_equal(narrow, voxels) else voxels.astype(np.float32)
