"""Preview of a data set: a page with contact sheets, which show at a glance whether the labels fit the images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jinja2 import Environment, PackageLoader
from tqdm import tqdm

from i2net_bundle.checks.anatomy import measure_organs
from i2net_bundle.checks.histology import load_image, load_mask, pair_findings
from i2net_bundle.checks.scans import load_volume, load_volume_pair
from i2net_bundle.data.datalist import DATALIST, DataList, read_datalist
from i2net_bundle.data.description import reading_options
from i2net_bundle.data.image_files import image_paths, name_cases
from i2net_bundle.figures.case_panels import stretched
from i2net_bundle.figures.side_letters import side_letters
from i2net_bundle.io.channels import is_ct
from i2net_bundle.io.findings import DataError, Finding, errors
from i2net_bundle.io.formats import is_volume
from i2net_bundle.io.geometry import has_geometry
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.io.writing import staged_folder
from i2net_bundle.labels import LabelClass
from i2net_bundle.labels.colors import PALETTE
from i2net_bundle.reports.contact_sheet import Panel, Tile, draw_sheet
from i2net_bundle.reports.phantom_notice import phantom_notice
from i2net_bundle.transforms.preprocessing import WINDOW_HU

PAGE_NAME = "index.html"
_CASES_PER_PAGE = 12
_LONGEST_SIDE = 512  # pixels of a picture in a tile


def preview_dataset(
    dataset_dir: str | Path,
    out_dir: str | Path | None = None,
    ct: VolumeOptions | None = None,
    histology: HistologyOptions | None = None,
    datalist: str = DATALIST,
    label_table: str | Path | None = None,
) -> Path:
    """Draw every case of a data set: three slices of a volume, or the whole 2D image, with the contours of its labels.

    Args:
        dataset_dir: folder of the data list.
        out_dir: folder to write; must be missing or empty; default is ``preview`` in the data set's folder.
        ct: options for reading volumes.
        histology: options for reading 2D images.
        datalist: name of the data list.
        label_table: name of a built-in label table, or path of a label table, with properties of the classes.

    Returns:
        path of the page; the sheets ``page_01.png``, … are in the same folder. The page lists the fault of every file
        that cannot be read, and its tile is left blank.

    Raises:
        FileExistsError: ``out_dir`` is not empty.
        FileNotFoundError: there is no data list.
        ValueError: the data list names no cases.
    """
    folder = Path(dataset_dir)
    found = read_datalist(folder / datalist)
    ct, histology, description = reading_options(
        found, ct or VolumeOptions(), histology or HistologyOptions(), label_table
    )
    classes = description.classes if description is not None else ()
    listed = [(split, case) for split, cases in found.splits.items() for case in cases]
    unique = {str(case["image"]): (split, case) for split, case in reversed(listed)}  # the first list that names it
    cases = list(reversed(unique.values()))
    named = name_cases([case for _, case in cases])
    out_dir = Path(out_dir) if out_dir is not None else folder / "preview"
    with staged_folder(out_dir) as target:
        tiles: list[Tile] = []
        pages: list[str] = []
        progress = tqdm(zip(cases, named, strict=True), total=len(cases), desc="drawing cases", disable=None)
        for index, ((split, _), case) in enumerate(progress, 1):
            tiles.append(_tile(folder, split, case, ct, histology, classes))
            if index % _CASES_PER_PAGE == 0 or index == len(cases):
                first = len(pages) * _CASES_PER_PAGE
                pages.append(f"page_{len(pages) + 1:02d}.png")
                draw_sheet(tiles[first:], _contour_colors(classes, found)).savefig(target / pages[-1], dpi=100)
                for tile in tiles[first:]:
                    tile.panels.clear()  # keeps only the numbers in memory
        (target / PAGE_NAME).write_text(_page(found, tiles, classes, ct, pages), encoding="utf-8")
    return out_dir / PAGE_NAME


def _contour_colors(classes: Sequence[LabelClass], found: DataList) -> Sequence[str]:
    """Colours of the labels from 1: those of the classes, or, for objects, any that tell neighbours apart."""
    objects = not found.volumes and len(classes) <= 2
    return PALETTE if objects or len(classes) < 2 else [item.color for item in classes[1:]]


def _tile(
    folder: Path,
    split: str,
    case: Mapping[str, Any],
    ct: VolumeOptions,
    histology: HistologyOptions,
    classes: Sequence[LabelClass],
) -> Tile:
    images = image_paths(case)
    tile = Tile(Path(images[0]).name if len(images) == 1 else case["case"], split, volume=is_volume(images[0]))
    try:
        if tile.volume:
            _read_volume(tile, case, ct, classes)
        else:
            _read_histology(tile, case, histology, classes)
    except DataError as fault:
        tile.findings += fault.findings
    tile.findings = [_relative(finding, folder) for finding in tile.findings]
    return tile


def _relative(finding: Finding, folder: Path) -> Finding:
    """A finding with paths relative to the data set, so that the page names no folder of this computer."""
    if folder == Path():
        return finding
    file, problem, remedy = (
        text.replace(f"{folder}{os.sep}", "") for text in (finding.file, finding.problem, finding.remedy)
    )
    return replace(finding, file=file, problem=problem, remedy=remedy)


def _read_volume(tile: Tile, case: Mapping[str, Any], options: VolumeOptions, classes: Sequence[LabelClass]) -> None:
    if "label" in case:
        image, label, tile.findings = load_volume_pair(image_paths(case), case["label"], options)
    else:
        image, tile.findings = load_volume(image_paths(case), options)
        label = nib.Nifti1Image(np.zeros(image.shape[:3], np.uint8), image.affine)
    if len(image.shape) > 3:  # only the first channel is drawn
        image = nib.Nifti1Image(np.asarray(image.dataobj)[..., 0], image.affine, image.header)
    organs = measure_organs(np.asarray(label.dataobj), image.affine)
    amounts = {item.name: organs[index].volume_ml for index, item in enumerate(classes) if index in organs}
    tile.amounts = amounts if has_geometry(image) else {}
    stored, labels = (_radiological(part) for part in (image, label))
    if is_ct(options.channels[0]):
        low, high = WINDOW_HU
        grey = np.clip((stored.astype(np.float32) - low) / (high - low), 0, 1)
    else:
        grey = stretched(stored.astype(np.float32))
    affine = _reoriented(image).affine
    rows, columns, height = nib.affines.voxel_sizes(affine)
    row, column, depth = _cut_position(labels)
    cuts: list[tuple[tuple[Any, ...], float, int]] = [  # slice, aspect, axis from left to right
        ((slice(None), slice(None), depth), rows / columns, 1),  # axial
        ((row, slice(None), slice(None)), height / columns, 1),  # coronal
        ((slice(None), column, slice(None)), height / rows, 0),  # sagittal
    ]
    for number, (cut, aspect, axis) in enumerate(cuts):
        picture, ids = grey[cut], labels[cut]
        if number:  # superior up
            picture, ids = picture.T[::-1], ids.T[::-1]
        tile.panels.append(Panel(*_shrunk(picture, ids), float(aspect), side_letters(affine, axis)))


def _read_histology(
    tile: Tile, case: Mapping[str, Any], options: HistologyOptions, classes: Sequence[LabelClass]
) -> None:
    pixels, tile.findings = load_image(case["image"], options)
    ids = np.zeros(pixels.shape[:2], np.int32)
    if "label" in case:
        ids, found = load_mask(case["label"], options)
        sizes = [(array.shape[1], array.shape[0]) for array in (pixels, ids)]
        tile.findings = tile.findings + found + pair_findings(case["image"], sizes[0], case["label"], sizes[1])
        if ids.shape != pixels.shape[:2]:
            ids = np.zeros(pixels.shape[:2], np.int32)
        elif options.has_class_ids:
            tile.amounts = {
                item.name: float((ids == index).mean()) for index, item in enumerate(classes) if (ids == index).any()
            }
        else:
            tile.amounts = {classes[1].name if len(classes) > 1 else "foreground": float((ids > 0).mean())}
    tile.panels.append(Panel(*_shrunk(pixels / 255, ids)))


def _reoriented(image: nib.Nifti1Image) -> nib.Nifti1Image:
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt("PLS")
    )
    return image.as_reoriented(turn)


def _radiological(image: nib.Nifti1Image) -> np.ndarray:
    """Voxels with rows towards posterior, columns towards the patient's left and slices towards superior."""
    return np.asarray(_reoriented(image).dataobj)


def _cut_position(labels: np.ndarray) -> tuple[int, int, int]:
    """Where to cut: at the median labelled row and column, in the slice with the most classes; else in the middle."""
    where = np.nonzero(labels)
    if not len(where[0]):
        row, column, depth = (size // 2 for size in labels.shape)
        return row, column, depth
    row, column = (int(np.median(axis)) for axis in where[:2])
    counts = [len(np.unique(labels[..., depth])) for depth in range(labels.shape[2])]
    richest = np.flatnonzero(np.array(counts) == max(counts))
    return row, column, int(richest[len(richest) // 2])


def _shrunk(picture: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    step = max(1, max(ids.shape) // _LONGEST_SIDE)
    return picture[::step, ::step], ids[::step, ::step]


def _page(
    found: DataList, tiles: Sequence[Tile], classes: Sequence[LabelClass], options: VolumeOptions, pages: Sequence[str]
) -> str:
    volumes = any(tile.volume for tile in tiles)
    names = [item.name for item in classes if not (volumes and item is classes[0])]
    columns = [name for name in dict.fromkeys([*names, *(name for tile in tiles for name in tile.amounts)])]
    columns = [name for name in columns if any(name in tile.amounts for tile in tiles)]
    counts = ", ".join(f"{len(entries)} {split}" for split, entries in found.splits.items())
    what = (
        "Axial, coronal and sagittal slices through the labels, in radiological convention: the patient's right is on "
        "the left of axial and coronal slices; anterior is at the top of axial and on the left of sagittal slices."
        if volumes
        else "Images with the outlines of their labels."
    )
    if volumes and len(options.channels) > 1:
        what += f" The channels are {', '.join(options.channels)}; only the first is shown."
    legend = [{"name": item.name, "color": item.color} for item in classes[1:]] if len(classes) > 2 else []
    environment = Environment(loader=PackageLoader("i2net_bundle.reports"), autoescape=True)
    return environment.get_template("preview.html.j2").render(
        name=found.name or "Data set",
        notice=phantom_notice(None, found.name),
        counts=counts,
        what=what,
        classes=legend,
        findings=sorted(
            (finding for tile in tiles for finding in tile.findings), key=lambda finding: not errors([finding])
        ),
        table_title="Volumes, mL" if volumes else "Share of the image",
        columns=columns,
        rows=[
            {"name": tile.name, "split": tile.split, "cells": [_cell(tile, name, volumes) for name in columns]}
            for tile in tiles
            if columns
        ],
        pages=pages,
    )


def _cell(tile: Tile, name: str, volumes: bool) -> dict[str, Any]:
    if name not in tile.amounts:
        return {"text": "–", "marked": False}
    amount = tile.amounts[name]
    marked = volumes and any(f.rule == "organ-volume" and f.problem.startswith(f"{name} of") for f in tile.findings)
    return {"text": f"{amount:.0f}" if volumes else f"{amount:.0%}", "marked": marked}
