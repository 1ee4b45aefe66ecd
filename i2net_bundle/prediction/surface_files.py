"""Write the surfaces of predicted organs as STL, OBJ, PLY or GLB, for 3D viewers, printers and simulations.

STL, OBJ and PLY are in mm, in DICOM's patient coordinates (LPS), which their header says as 3D Slicer reads it. GLB is
in metres with the y axis up, as glTF 2.0 requires: the patient stands upright and looks along +z.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import trimesh
from tqdm import tqdm
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.obj import export_obj
from trimesh.exchange.ply import export_ply
from trimesh.exchange.stl import export_stl
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from i2net_bundle.io.formats import image_stem
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.io.privacy import shown_path
from i2net_bundle.io.writing import staged_folder, write_rows
from i2net_bundle.labels import LabelClass, classes_of, label_table
from i2net_bundle.labels.names import MAX_CLASSES
from i2net_bundle.prediction.cohort_record import CaseRecord
from i2net_bundle.prediction.prediction_folder import (
    PredictionFolder,
    load_mask_volume,
    mask_path_of,
    read_prediction_folder,
)
from i2net_bundle.prediction.surfaces import Surface, class_surface
from i2net_bundle.workflow.errors import message_of
from i2net_bundle.workflow.stopping import graceful_stop

logger = logging.getLogger("i2net.prediction")

FORMATS = ("stl", "obj", "ply", "glb")
TABLE = "surfaces.csv"
_HEADER = "SPACE=LPS; unit: mm"
_STL_HEADER_BYTES = 80
_VOLUME_TOLERANCE = 0.01
_RAS_TO_LPS = np.array([-1, -1, 1], np.float32)
_Reader = Callable[[], nib.Nifti1Image]


@dataclass(frozen=True)
class SurfaceFiles:
    """What was written.

    Attributes:
        rows: of ``surfaces.csv``, one per surface.
        failed: cases whose mask could not be used.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def write_surfaces(
    masks: str | Path, out_dir: str | Path, file_format: str = "stl", labels: str | Path | None = None
) -> SurfaceFiles:
    """Write one surface per class and case: ``CASE/CLASS.stl``, or ``CASE.glb`` with all classes.

    Args:
        masks: output folder of ``i2net predict``, or the mask of a volume.
        out_dir: output folder, absent or empty.
        file_format: one of `FORMATS`.
        labels: label table of a mask file; without it, its classes are called "class 1", "class 2", ….

    Returns:
        the surfaces, and the cases of a folder whose mask cannot be used; the log says why.

    Raises:
        FileExistsError: the output folder is not empty.
        FileNotFoundError: ``masks`` does not exist, or contains no prediction.
        DataError: the only mask cannot be used.
        ValueError: the masks are of 2D images, no mask contains a class, or ``labels`` is given for a folder.
        DiskFullError: the disk is full.
    """
    if file_format not in FORMATS:
        raise ValueError(f"Unknown format '{file_format}'; known: {', '.join(FORMATS)}.")
    classes, readers = _masks(Path(masks), labels)
    written = SurfaceFiles()
    with graceful_stop() as stop, staged_folder(out_dir) as folder:
        for case, read in tqdm(readers.items(), desc="computing surfaces", unit="case", disable=None):
            try:
                volume = read()
            except (OSError, ValueError) as fault:
                if len(readers) == 1:
                    raise
                logger.warning(f"{case}: no surfaces, because {message_of(fault)}")
                written.failed.append(case)
                continue
            written.rows.extend(_write_case(volume, classes, case, folder, file_format))
            stop.exit_if_requested("no surface is written. Run the same command again.")
        if not written.rows:
            raise ValueError(f"{shown_path(masks)} contains no mask with a class, so there is no surface to write.")
        write_rows(folder / TABLE, written.rows)
    return written


def _masks(masks: Path, labels: str | Path | None) -> tuple[tuple[LabelClass, ...], dict[str, _Reader]]:
    """Classes, background first, and what reads the mask of each case."""
    if not masks.exists():
        raise FileNotFoundError(f"{masks} does not exist. Pass an output folder of `i2net predict`, or a mask.")
    if not masks.is_dir():
        names = label_table(labels).names if labels is not None else _numbered_classes()
        classes = classes_of(names, labels)
        return classes, {image_stem(masks).removesuffix("_mask"): partial(load_mask_volume, masks, classes)}
    if labels is not None:
        raise ValueError(f"{masks} records its classes. Leave out --labels, which is for mask files.")
    found = read_prediction_folder(masks)
    if not found.task.volumes:
        raise ValueError(
            f"{masks} contains masks of 2D images, which have no surface. Outlines are in its .geojson files."
        )
    if any(Path(record.case).name != record.case for record in found.cases):
        raise ValueError(f"{masks} is damaged: the name of a case contains a folder. Run `i2net predict` again.")
    return found.classes, {record.case: partial(_read_mask, found, record) for record in found.cases}


def _read_mask(found: PredictionFolder, record: CaseRecord) -> nib.Nifti1Image:
    assert isinstance(found.options, VolumeOptions)
    return load_mask_volume(mask_path_of(found.folder, record), found.classes, found.options.header)


def _numbered_classes() -> list[str]:
    return ["background", *(f"class {index}" for index in range(1, MAX_CLASSES))]


def _write_case(
    volume: nib.Nifti1Image, classes: Sequence[LabelClass], case: str, folder: Path, file_format: str
) -> Iterator[dict[str, Any]]:
    """Write the surfaces of a case and yield a row for each."""
    mask, affine = np.asarray(volume.dataobj), np.asarray(volume.affine, np.float64)
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    surfaces: dict[int, Surface] = {}
    for index in map(int, np.unique(mask[mask > 0])):
        surface = class_surface(mask, affine, index)
        if surface is None or not len(surface.faces):
            logger.warning(f"{case}: {classes[index].name} is too small for a surface")
            continue
        surfaces[index] = surface
        name = f"{case}.glb" if file_format == "glb" else f"{case}/{_file_name(index, classes)}.{file_format}"
        mask_ml = int((mask == index).sum()) * voxel_ml
        if abs(surface.volume_ml / mask_ml - 1) > _VOLUME_TOLERANCE:
            logger.warning(
                f"{case}: the surface of {classes[index].name} encloses {surface.volume_ml:.3g} mL, its voxels are "
                f"{mask_ml:.3g} mL: it is as small or thin as a few voxels"
            )
        yield {
            "case": case,
            "class": classes[index].name,
            "file": name,
            "mask_ml": round(mask_ml, 4),
            "surface_ml": round(surface.volume_ml, 4),
            "area_cm2": round(float(_mesh(surface).area) / 100, 4),
            "triangles": len(surface.faces),
        }
        if file_format != "glb":
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(_encoded(surface, file_format))
    if file_format == "glb" and surfaces:
        (folder / f"{case}.glb").write_bytes(_scene({classes[index]: item for index, item in surfaces.items()}))


def _file_name(index: int, classes: Sequence[LabelClass]) -> str:
    """File name of a class, without its suffix; with its number if other classes would have the same name."""
    names = [re.sub(r"[^\w-]+", "_", item.name).strip("_") for item in classes]
    return names[index] if names[index] and names.count(names[index]) == 1 else f"{names[index]}_{index}"


def _mesh(surface: Surface) -> trimesh.Trimesh:
    """The surface in LPS mm."""
    return trimesh.Trimesh(surface.vertices * _RAS_TO_LPS, surface.faces, process=False)


def _encoded(surface: Surface, file_format: str) -> bytes:
    """Content of an STL (binary), OBJ or PLY (binary) file."""
    mesh = _mesh(surface)
    if file_format == "obj":
        return str(export_obj(mesh, include_normals=False, header=_HEADER)).encode()
    if file_format == "stl":
        content = export_stl(mesh)
        return _HEADER.encode().ljust(_STL_HEADER_BYTES) + content[_STL_HEADER_BYTES:]
    first, second, rest = export_ply(mesh).split(b"\n", 2)  # "ply", its encoding, the elements
    return b"\n".join([first, second, f"comment {_HEADER}".encode(), rest])


def _scene(surfaces: Mapping[LabelClass, Surface]) -> bytes:
    """Content of a GLB file with a named, coloured node per class."""
    scene = trimesh.Scene()
    for item, surface in surfaces.items():
        right, anterior, superior = surface.vertices.T
        mesh = trimesh.Trimesh(np.stack([-right, superior, anterior], axis=1) / 1000, surface.faces, process=False)
        color = [int(item.color[start : start + 2], 16) for start in (1, 3, 5)]
        material = PBRMaterial(name=item.name, baseColorFactor=[*color, 255], metallicFactor=0.0, roughnessFactor=0.8)
        mesh.visual = TextureVisuals(material=material)
        scene.add_geometry(mesh, node_name=item.name, geom_name=item.name)
    content = export_glb(scene)
    assert isinstance(content, bytes)
    return content
