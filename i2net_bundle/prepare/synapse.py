"""Prepare abdominal CT (raw BTCV, TransUNet's files, Decathlon and nnU-Net folders): RAS NIfTI with eight labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from i2net_bundle.checks.anatomy import anatomy_findings, measure_organs
from i2net_bundle.checks.scans import load_volume, load_volume_pair
from i2net_bundle.data.datalist import DATALIST
from i2net_bundle.io.findings import DataError, Finding, error
from i2net_bundle.io.geometry import has_geometry, mark_without_geometry
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.io.volumes import content_sha256
from i2net_bundle.io.writing import staged_folder
from i2net_bundle.labels import LabelTable, label_table, map_labels
from i2net_bundle.prepare.ct_cases import FOLDERS, SourceCase, find_cases
from i2net_bundle.prepare.manifest import Manifest
from i2net_bundle.prepare.sources import one_at_a_time, opened_source, settle_findings
from i2net_bundle.prepare.transunet_files import read_transunet
from i2net_bundle.workflow.stopping import graceful_stop


@dataclass(frozen=True)
class ReadCase:
    """A case that was read: image in HU and label in the table's ids, on one grid."""

    image: nib.Nifti1Image
    label: nib.Nifti1Image | None
    findings: list[Finding]
    facts: dict[str, Any]


def prepare_synapse(
    source: str | Path,
    out_dir: str | Path,
    *,
    numbering: str | None = None,
    options: VolumeOptions | None = None,
    orientation: str | None = None,
    allow_missing: bool = False,
) -> Path:
    """Verify abdominal CT and write it as canonical (RAS) NIfTI with the eight labels of the paper.

    It contains ``imagesTr/``, ``labelsTr/``, ``imagesTs/``, ``labelsTs/``, ``dataset.json`` (for BTCV's cases with
    the paper's split into 18 and 12) and ``manifest.json``.

    Args:
        source: folder or archive: raw BTCV (``img/img0001.nii.gz``, ``label/label0001.nii.gz``), TransUNet's files
            (``train_npz``, ``test_vol_h5``), or a folder of the Decathlon's or nnU-Net's form, whose ``dataset.json``
            names its labels.
        out_dir: folder to write, absent or empty.
        numbering: the labels' numbering, a name in ``i2net_bundle/labels/synapse.json``; default the source's own.
        options: what the user declares about ambiguous files.
        orientation: of TransUNet's arrays, see `read_transunet`.
        allow_missing: continue without cases that are missing or unusable; the latter are listed in ``failed.csv``.

    Returns:
        path of ``dataset.json``.

    Raises:
        DataError: files cannot be used; names all of them.
        FileExistsError: ``out_dir`` is not empty.
        FileNotFoundError: the source is none of these, or lacks cases.
        ValueError: the numbering is not declared.
    """
    options = options or VolumeOptions()
    with graceful_stop(), staged_folder(out_dir) as target, opened_source(source, target) as folder:
        kind, cases, names = find_cases(folder, source, allow_missing)
        table = label_table("synapse")
        ids = table.source_map(numbering or names)
        settings = {"kind": kind, "numbering": numbering or (names if isinstance(names, str) else "by name")}
        manifest = Manifest("synapse", {**settings, "orientation": orientation, "allow_missing": allow_missing})
        written: list[SourceCase] = []
        found: list[Finding] = []
        for case in one_at_a_time(cases, "case"):
            try:
                read = _read(case, ids, table, options, orientation)
            except DataError as fault:
                found += fault.findings
                continue
            found += read.findings
            _write(case, read, target, manifest, table)
            written.append(case)
        settle_findings(found, allow_missing and bool(written), target)
        _write_datalist(written, target, table, kind)
        manifest.write(target)
    return Path(out_dir, DATALIST)


def _read(
    case: SourceCase, ids: Mapping[int, int], table: LabelTable, options: VolumeOptions, orientation: str | None
) -> ReadCase:
    """Read and check one case.

    Raises:
        DataError: the case cannot be used; names its files and the remedies.
    """
    facts: dict[str, Any] = {}
    if "image" not in case.files:
        (files,) = case.files.values()
        image, label, facts["orientation"] = read_transunet(files, orientation)
        return _judged(files[0], image, label, files[0], ids, table, [], facts)
    (image_path,) = case.files["image"]
    if "label" not in case.files:
        image, findings = load_volume(image_path, options)
        return ReadCase(image, None, findings, facts)
    (label_path,) = case.files["label"]
    try:
        image, label, findings = load_volume_pair(image_path, label_path, replace(options, classes=None))
    except DataError as fault:
        raise DataError(
            [_with_evidence(f, image_path, label_path, ids, table, options) for f in fault.findings]
        ) from fault
    return _judged(image_path, image, label, label_path, ids, table, findings, facts)


def _judged(
    image_path: Path,
    image: nib.Nifti1Image,
    label: nib.Nifti1Image,
    label_path: Path,
    ids: Mapping[int, int],
    table: LabelTable,
    findings: list[Finding],
    facts: dict[str, Any],
) -> ReadCase:
    try:
        mapped = map_labels(np.asarray(label.dataobj), ids, str(label_path))
    except ValueError as cause:
        problem = str(cause).removeprefix(f"{label_path}: ").split(". ")[0]
        remedy = f"Choose the numbering with --numbering ({', '.join(table.sources)})."
        raise DataError([error("labels", label_path, problem, remedy)]) from cause
    organs = measure_organs(mapped, image.affine)
    found = anatomy_findings(organs, table.classes, label_path, has_geometry(image))
    return ReadCase(image, nib.Nifti1Image(mapped, image.affine, image.header), findings + found, facts)


def _with_evidence(
    finding: Finding,
    image_path: Path,
    label_path: Path,
    ids: Mapping[int, int],
    table: LabelTable,
    options: VolumeOptions,
) -> Finding:
    """Add to a disagreement of two headers how well the organs fit each."""
    if finding.rule != "geometry":
        return finding
    said = []
    for whose in ("image", "label"):
        _, label, _ = load_volume_pair(image_path, label_path, replace(options, classes=None, geometry=whose))
        if not set(np.unique(np.asarray(label.dataobj)).tolist()) <= set(ids):
            return finding  # labels outside the numbering cannot be judged
        mapped = map_labels(np.asarray(label.dataobj), ids, str(label_path))
        found = anatomy_findings(measure_organs(mapped, label.affine), table.classes, label_path)
        said.append(f"by the {whose}'s header {'; '.join(f.problem for f in found) or 'every organ is in its place'}")
    return replace(finding, problem=f"{finding.problem}. The organs: {'; '.join(said)}")


def _write(case: SourceCase, read: ReadCase, target: Path, manifest: Manifest, table: LabelTable) -> None:
    outputs = {"image": target / f"images{FOLDERS[case.split]}" / f"{case.name}.nii.gz"}
    _save_canonical(read.image, outputs["image"])
    facts = {
        "split": case.split,
        "shape": list(nib.as_closest_canonical(read.image).shape),
        "spacing_mm": _spacing(read.image),
        **read.facts,
    }
    if read.label is not None:
        outputs["label"] = target / f"labels{FOLDERS[case.split]}" / f"{case.name}.nii.gz"
        _save_canonical(read.label, outputs["label"])
        counts = np.bincount(np.asarray(read.label.dataobj).ravel(), minlength=len(table.classes)).tolist()
        facts["label_counts"] = dict(zip(table.names, counts, strict=True))
    sources = {
        role if len(files) == 1 else f"{role}/{file.name}": content_sha256(file)
        for role, files in case.files.items()
        for file in files
    }
    manifest.add(case.name, sources, target, outputs, **facts)


def _spacing(image: nib.Nifti1Image) -> list[float] | None:
    if not has_geometry(image):
        return None
    return [round(float(side), 6) for side in nib.affines.voxel_sizes(nib.as_closest_canonical(image).affine)]


def _save_canonical(image: nib.Nifti1Image, path: Path) -> None:
    """Write a volume in RAS order; its new header contains only geometry, consistent in all fields."""
    path.parent.mkdir(exist_ok=True)
    canonical = nib.as_closest_canonical(image)
    voxels = np.ascontiguousarray(canonical.dataobj)
    fresh = nib.Nifti1Image(voxels, canonical.affine)
    fresh.header.set_xyzt_units("mm")
    fresh.set_sform(canonical.affine, code=1)
    fresh.set_qform(canonical.affine, code=1)
    if not np.allclose(fresh.get_qform(), canonical.affine, atol=1e-3):
        fresh.set_qform(None, code=0)  # a qform cannot hold shear
    if not has_geometry(image):
        mark_without_geometry(fresh)
    nib.save(fresh, path)


def _write_datalist(cases: list[SourceCase], target: Path, table: LabelTable, kind: str) -> None:
    lists: dict[str, list[dict[str, str]]] = {}
    for case in cases:
        suffix = FOLDERS[case.split]
        entry = {"image": f"./images{suffix}/{case.name}.nii.gz"}
        if "label" in case.files or "image" not in case.files:
            entry["label"] = f"./labels{suffix}/{case.name}.nii.gz"
        lists.setdefault(case.split, []).append(entry)
    content = {
        "name": "Synapse",
        "description": table.description,
        "modality": {"0": "CT"},
        "labels": {str(index): name for index, name in enumerate(table.names)},
        "geometry": "unknown" if kind == "transunet" else "mm",
        **lists,
    }
    (target / DATALIST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
