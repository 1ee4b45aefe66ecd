"""Prepare Cityscapes (leftImg8bit and gtFine): images, train ids and a data list."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from i2net_bundle.data.phantoms.streets import CITY as PHANTOM_CITY
from i2net_bundle.io.findings import DataError, Finding, error
from i2net_bundle.io.writing import file_sha256, staged_folder
from i2net_bundle.labels import LabelTable, label_table, map_labels
from i2net_bundle.prepare.manifest import Manifest
from i2net_bundle.prepare.pictures import read_pair, read_rgb
from i2net_bundle.prepare.sources import logger, one_at_a_time, opened_source, require_complete, settle_findings
from i2net_bundle.workflow.stopping import graceful_stop

SPLITS = {"train": "training", "val": "validation", "test": "test"}

_IMAGES, _IMAGE_END = "leftImg8bit", "_leftImg8bit.png"
_LABELS, _LABEL_END = "gtFine", "_gtFine_labelIds.png"


class Scene(NamedTuple):
    """One street scene ("aachen_000000_000019") of a split ("train", "val" or "test")."""

    split: str
    name: str
    image: Path
    label: Path | None


def prepare_cityscapes(
    source: str | Path, out_dir: str | Path, *, allow_missing: bool = False, link: bool = False
) -> Path:
    """Verify Cityscapes' files and write them as a data set.

    It contains ``images/NAME.png``, ``labels/NAME.png`` (train ids 0-18, 255 for ignored pixels), ``dataset.json``
    and ``manifest.json``. Test images with void annotations, as all public ones have, get no label.

    Args:
        source: folder that contains ``leftImg8bit`` and ``gtFine``, or the folder above it, or the folder of the two
            distributed archives ``leftImg8bit_trainvaltest.zip`` and ``gtFine_trainvaltest.zip``.
        out_dir: folder to write, absent or empty.
        allow_missing: continue without scenes that are missing or unusable; the latter are listed in
            ``failed.csv``.
        link: hard-link the images instead of copying them; both must be on one disk.

    Returns:
        path of ``dataset.json``.

    Raises:
        DataError: ``leftImg8bit`` or ``gtFine`` is missing, or files cannot be used; names all of them.
        FileExistsError: ``out_dir`` is not empty.
        FileNotFoundError: images or annotations are missing.
        OSError: an image cannot be hard-linked.
    """
    table = label_table("cityscapes")
    with ExitStack() as stack:
        stack.enter_context(graceful_stop())
        target = stack.enter_context(staged_folder(out_dir))
        folder = stack.enter_context(opened_source(source, target))
        images = _open_part(folder, _IMAGES, target, stack)
        labels = _open_part(folder, _LABELS, target, stack)
        scenes = _find_scenes(source, images, labels, allow_missing)
        manifest = Manifest("cityscapes", {"allow_missing": allow_missing, "link": link})
        splits, findings = _convert(scenes, table, target, manifest, link)
        settle_findings(findings, allow_missing, target)
        phantoms = all(scene.name.startswith(f"{PHANTOM_CITY}_") for scene in scenes)
        content = {
            "name": "Street phantoms" if phantoms else "Cityscapes",
            "labels": {str(index): name for index, name in enumerate(table.names)},
            "label_values": "classes",
            "ignore_id": table.ignore_id,
            **splits,
        }
        (target / "dataset.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        manifest.write(target)
    return Path(out_dir, "dataset.json")


def _open_part(folder: Path, part: str, workspace: Path, stack: ExitStack) -> Path:
    """Find ``leftImg8bit`` or ``gtFine``, or extract its archive until the stack closes.

    Raises:
        DataError: there is neither a folder nor an archive.
    """
    found = _find_part(folder, part)
    archives = sorted(folder.glob(f"{part}_*.zip"))
    if found is None and archives:
        found = _find_part(stack.enter_context(opened_source(archives[0], workspace)), part)
    if found is None:
        problem = f"contains neither a folder {part} nor {part}_trainvaltest.zip"
        remedy = f"Pass the folder that contains both {_IMAGES} and {_LABELS}, or both archives."
        raise DataError([error("incomplete", folder, problem, remedy)])
    return found


def _find_part(folder: Path, part: str) -> Path | None:
    # archives packed on macOS repeat every name in a folder __MACOSX
    below = sorted(folder.glob(f"[!_.]*/{part}"))
    return next((path for path in (folder / part, *below) if path.is_dir()), None)


def _find_scenes(source: str | Path, images: Path, labels: Path, allow_missing: bool) -> list[Scene]:
    """Scenes in the order of splits and names; only test scenes may lack an annotation.

    Raises:
        FileNotFoundError: the source lacks files, or contains no training scene.
    """
    scenes, missing = [], []
    for split in SPLITS:
        pictures = _files(images / split, _IMAGE_END)
        annotations = _files(labels / split, _LABEL_END)
        missing += [f"{name}{_IMAGE_END}" for name in annotations if name not in pictures]
        if split != "test":
            missing += [f"{name}{_LABEL_END}" for name in pictures if name not in annotations]
            pictures = {name: path for name, path in pictures.items() if name in annotations}
        scenes += [Scene(split, name, path, annotations.get(name)) for name, path in pictures.items()]
        if not pictures:
            logger.warning("%s: no %s images with annotations; dataset.json is without them.", source, split)
    require_complete(source, missing, allow_missing)
    if not any(scene.split == "train" for scene in scenes):
        raise FileNotFoundError(
            f"No training images in {source}. Expected {_IMAGES}/train/CITY/…{_IMAGE_END}; download the archives again."
        )
    return scenes


def _files(folder: Path, ending: str) -> dict[str, Path]:
    """Scene name to file, over all cities."""
    return {path.name.removesuffix(ending): path for path in sorted(folder.glob(f"*/[!.]*{ending}"))}


def _convert(
    scenes: list[Scene], table: LabelTable, target: Path, manifest: Manifest, link: bool
) -> tuple[dict[str, list[dict[str, str]]], list[Finding]]:
    """Write every scene and record it; return the splits of ``dataset.json`` and the faults of unusable scenes."""
    for folder in ("images", "labels"):
        (target / folder).mkdir()
    splits: dict[str, list[dict[str, str]]] = {}
    findings: list[Finding] = []
    for scene in one_at_a_time(scenes, "image"):
        try:
            label = _read_label(scene, table)
        except DataError as fault:
            findings += fault.findings
            continue
        outputs = {"image": target / "images" / f"{scene.name}.png"}
        facts: dict[str, object] = {"split": scene.split}
        _place(scene.image, outputs["image"], link)
        if label is not None:
            outputs["label"] = target / "labels" / f"{scene.name}.png"
            facts["label_counts"] = _count(label, table)
            Image.fromarray(label).save(outputs["label"])
        roles = {"image": scene.image, "label": scene.label}
        sources = {role: file_sha256(path) for role, path in roles.items() if path}
        manifest.add(scene.name, sources, target, outputs, **facts)
        entry = {role: f"./{path.relative_to(target).as_posix()}" for role, path in outputs.items()}
        splits.setdefault(SPLITS[scene.split], []).append(entry)
    return splits, findings


def _read_label(scene: Scene, table: LabelTable) -> np.ndarray | None:
    """Verify a scene and return its train ids (H, W), uint8; None if it has no label, or a void one in the test split.

    Raises:
        DataError: with the faults of both files.
    """
    if scene.label is None:
        read_rgb(scene.image)
        return None
    _, label_ids = read_pair(scene.image, scene.label)
    try:
        label = map_labels(label_ids, table.source_map("labelIds"), scene.label.name)
    except ValueError as cause:
        remedy = f"Take the file …{_LABEL_END} as distributed."
        raise DataError(
            [error("label-ids", scene.label, f"is not in the labelIds numbering ({cause})", remedy)]
        ) from cause
    void = scene.split == "test" and (label == table.ignore_id).all()
    return None if void else label


def _count(label: np.ndarray, table: LabelTable) -> dict[str, int]:
    """Pixels of each class that occurs, and "ignored"."""
    names = dict(enumerate(table.names))
    values, counts = np.unique(label, return_counts=True)
    return {names.get(value, "ignored"): count for value, count in zip(values.tolist(), counts.tolist(), strict=True)}


def _place(image: Path, target: Path, link: bool) -> None:
    """Copy or hard-link a file.

    Raises:
        OSError: it cannot be hard-linked.
    """
    if not link:
        shutil.copyfile(image, target)
        return
    try:
        os.link(image.resolve(), target)
    except OSError as cause:
        raise OSError(f"{image} cannot be hard-linked ({cause.strerror}). Copy instead, without --link.") from cause
