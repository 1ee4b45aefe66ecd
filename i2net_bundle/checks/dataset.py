"""The integrity check of whole data sets, folders and single files, as ``i2net check`` runs it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image
from tqdm import tqdm

from i2net_bundle.checks.cases import check_case
from i2net_bundle.checks.empty_labels import with_empty_labels_joined
from i2net_bundle.checks.histology import load_image
from i2net_bundle.data.datalist import DATALIST, read_datalist
from i2net_bundle.data.description import reading_options
from i2net_bundle.data.image_files import image_paths, list_images
from i2net_bundle.io.counted import counted
from i2net_bundle.io.dicom.trees import dicom_folders
from i2net_bundle.io.findings import DataError, Finding, error, errors, warning, warnings
from i2net_bundle.io.formats import is_volume
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.io.printable import printable
from i2net_bundle.io.volumes import read_volume, volume_shape

FILES = "files"
"""Key of single files in the counts of a `CheckReport`."""
DICOM_SERIES = "DICOM series"
"""Key of DICOM series in the counts of a `CheckReport`."""


@dataclass
class CheckReport:
    """Checked cases and their findings.

    Attributes:
        target: file or folder as given.
        cases: number of cases by split; single files count under "files", DICOM folders under "DICOM series".
        findings: errors and warnings.
        classes: class names of a data set, background first; empty if nothing names them.
        channels: names of the channels of a data set.
    """

    target: str
    cases: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Format for people: what was checked, one line per finding, and the count."""
        parts = [
            counted(count, "file") if split == FILES else f"{count} {split}" for split, count in self.cases.items()
        ]
        lines = [f"{self.target}: {', '.join(parts) or 'nothing'} checked"]
        if self.channels:
            lines.append(f"channels: {', '.join(self.channels)}")
            named = ", ".join(f"{number} {name}" for number, name in enumerate(self.classes))
            lines.append(
                f"classes: {named or 'not named; add labels to the data list, or choose a table with --labels'}"
            )
        lines += [f"{finding.severity.upper():<7} [{finding.rule}] {finding}" for finding in self.findings]
        found = {"error": errors(self.findings), "warning": warnings(self.findings)}
        lines.append(", ".join(counted(len(findings), kind) for kind, findings in found.items()))
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        """Format for programs."""
        return {
            "target": self.target,
            "cases": self.cases,
            "classes": self.classes,
            "channels": self.channels,
            "errors": len(errors(self.findings)),
            "warnings": len(warnings(self.findings)),
            "findings": [asdict(finding) for finding in self.findings],
        }


def check_path(
    path: str | Path,
    ct: VolumeOptions | None = None,
    histology: HistologyOptions | None = None,
    datalist: str = DATALIST,
    label_table: str | Path | None = None,
) -> CheckReport:
    """Check a data set, a folder of images or of a DICOM series, or a single image.

    Args:
        path: folder or file.
        ct: how volumes are read.
        histology: how 2D images are read.
        datalist: name of the data list; a folder with one is a data set.
        label_table: built-in label table or a user's file, with properties of the classes.

    Returns:
        the report, with all faults; faults are not raised.

    Raises:
        FileNotFoundError: the path does not exist, or the folder has no known files.
    """
    path, ct, histology = Path(path), ct or VolumeOptions(), histology or HistologyOptions()
    report = CheckReport(printable(str(path)))
    if (path / datalist).is_file():
        _check_dataset(path / datalist, ct, histology, report, label_table)
    elif path.is_dir():
        _check_folder(path, ct, histology, report, datalist)
    elif path.exists() or path.is_symlink():
        report.cases[FILES] = 1
        report.findings += check_case({"image": path}, ct if is_volume(path) else histology)
    else:
        raise FileNotFoundError(f"{path} does not exist. Pass the folder of a data set, or an image.")
    return report


def _check_dataset(
    path: Path,
    ct: VolumeOptions,
    histology: HistologyOptions,
    report: CheckReport,
    label_table: str | Path | None,
) -> None:
    try:
        found = read_datalist(path)
        ct, histology, description = reading_options(found, ct, histology, label_table)
    except DataError as fault:
        report.findings += fault.findings
        return
    report.channels = list(found.channels or ct.channels)
    report.classes = description.class_names if description is not None else []
    cases: list[dict[str, Any]] = []
    for split, listed in found.splits.items():
        report.cases[split] = len(listed)
        cases += [case for case in listed if case not in cases]
        unlabelled = sum("label" not in case for case in listed)
        if split in ("training", "validation") and unlabelled:
            problem = f"{unlabelled} of {len(listed)} '{split}' cases have no label"
            report.findings.append(error("no-label", path, problem, "Add their labels, or take them out of the list."))
    for case in tqdm(cases, desc="checking cases", unit="case", disable=None):
        report.findings += check_case(case, ct if is_volume(image_paths(case)[0]) else histology)
    report.findings = with_empty_labels_joined(report.findings, list(found.splits.values()))
    images = {split: [list(map(Path, image_paths(case))) for case in cases] for split, cases in found.splits.items()}
    report.findings += _shared_images(path, images, ct)


def _check_images(
    cases: Sequence[Mapping[str, Any]], ct: VolumeOptions, histology: HistologyOptions, report: CheckReport
) -> None:
    report.cases[FILES] = len(cases)
    checked: list[Mapping[str, Any]] = []
    for case in tqdm(cases, desc="checking files", unit="file", disable=None):
        annotation = Path(case["image"]).with_name(f"{Path(case['image']).stem}_anno{Path(case['image']).suffix}")
        if annotation.is_file():  # as GlaS names them
            case = {**case, "label": str(annotation)}
        report.findings += check_case(case, ct if is_volume(case["image"]) else histology)
        checked.append(case)
    report.findings = with_empty_labels_joined(report.findings, [checked])


def _check_folder(
    path: Path, ct: VolumeOptions, histology: HistologyOptions, report: CheckReport, datalist: str
) -> None:
    """Check the images of a folder, and the DICOM series in it and its subfolders as prediction finds them.

    2D images beside DICOM series are logos and screenshots; reading the series reports that they are skipped.
    """
    try:
        images = list_images(path)
    except FileNotFoundError:
        images = []
    volumes = [case for case in images if is_volume(case["image"])]
    folders = dicom_folders(path, [case["image"] for case in volumes])
    if folders:
        images = volumes
    elif not images:
        raise FileNotFoundError(
            f"{path} contains no {datalist}, no image and no DICOM series. Pass the folder of a data set, or an image."
        )
    if images:
        _check_images(images, ct, histology, report)
    if folders and ct.series is not None:
        folders = [path]
    for folder in tqdm(folders, desc="checking DICOM", unit="case", disable=None):
        report.findings += check_case({"image": folder}, ct)
    if folders:
        report.cases[DICOM_SERIES] = len(folders)


def _shared_images(path: Path, images: Mapping[str, Sequence[list[Path]]], header: VolumeOptions) -> list[Finding]:
    """Find training images that are also in another split, by decoded content; repeats within a split are warnings.

    Args:
        path: of the data list.
        images: split to the files of each image, one or one per channel.
        header: how volumes are read.
    """
    by_shape: dict[tuple[int, ...], list[tuple[str, list[Path]]]] = defaultdict(list)
    for split, cases in images.items():
        for files in cases:
            shape = _shape(files[0])
            if shape is not None:
                by_shape[(len(files), *shape)].append((split, files))
    findings = []
    for candidates in by_shape.values():
        if len(candidates) < 2:
            continue
        seen: dict[str, tuple[str, Path]] = {}
        for split, files in sorted(candidates, key=lambda item: item[0] != "training"):
            file, digests = files[0], [_content_digest(item, header) for item in files]
            if None in digests:
                continue
            digest = " ".join(map(str, digests))
            if digest not in seen:
                seen[digest] = split, file
                continue
            first = seen[digest]
            problem = f"contains the same image as {first[1].name} of '{first[0]}', in '{split}'"
            if first[0] == "training" and split != "training":
                remedy = "Remove it from one of them: scores on training images are meaningless."
                findings.append(error("shared-case", file, problem, remedy))
            elif first[0] == split:
                findings.append(warning("repeated-case", file, problem, f"List it once in {path.name}."))
    return findings


def _shape(file: Path) -> tuple[int, ...] | None:
    """Read the shape from the header; None if the file cannot be read, which the case's check reports."""
    try:
        if is_volume(file):
            return tuple(sorted(volume_shape(file)))
        with Image.open(file) as image:
            return image.size
    except Exception:  # the check of the case reports the fault
        return None


def _content_digest(file: Path, header: VolumeOptions) -> str | None:
    """SHA-256 of the decoded image in canonical orientation."""
    try:
        if is_volume(file):
            image, _ = _any_volume(file, header)
            array = np.asarray(nib.as_closest_canonical(image).dataobj).astype(np.float32)
        else:
            array = load_image(file, HistologyOptions())[0]
    except DataError:
        return None
    return hashlib.sha256(array.tobytes()).hexdigest()


def _any_volume(file: Path, header: VolumeOptions) -> tuple[nib.Nifti1Image, list[Finding]]:
    """Read all volumes of a file that contains one per channel, else one volume."""
    count = int(np.prod(volume_shape(file)[3:]))
    if count > 1 and count == len(header.channels):
        return read_volume(file, header, needs_orientation=False, num_volumes=count)
    return read_volume(file, replace(header, volume=header.volume or 0), needs_orientation=False)
