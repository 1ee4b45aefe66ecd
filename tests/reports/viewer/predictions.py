"""Output folders of predictions with chosen masks, written by the code that writes real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from i2net_bundle.labels import LabelClass, classes_of
from i2net_bundle.prediction.case_files import write_prediction
from i2net_bundle.prediction.case_prediction import Prediction, image_prediction, volume_prediction
from i2net_bundle.prediction.cohort_record import CaseRecord, CohortRecord, image_state

ORGANS = classes_of(["background", "liver", "spleen", "aorta"])
GLANDS = classes_of(["background", "gland"])
TISSUES = classes_of(["background", "tumour", "stroma"])
SPACING_MM = (3.0, 4.0, 5.0)
SHAPE = (40, 36, 24)
LIVER = (slice(26, 36), slice(20, 32), slice(8, 16))
"""On the patient's right, in front: voxels of a volume whose axes point to right, anterior and superior."""
SPLEEN = (slice(4, 10), slice(4, 10), slice(12, 20))
"""On the left, behind, and higher."""


def body() -> tuple[np.ndarray, np.ndarray]:
    """HU and class indices of a block-shaped body, axes to right, anterior and superior."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[2:38, 2:34] = 0
    mask = np.zeros(SHAPE, np.uint8)
    for index, (part, value) in enumerate([(LIVER, 100), (SPLEEN, 50)], 1):
        hu[part], mask[part] = value, index
    return hu, mask


def oriented(values: np.ndarray, codes: str) -> nib.Nifti1Image:
    """A volume of `body` stored with other axes, such as "LPS"."""
    image = nib.Nifti1Image(values, np.diag([*SPACING_MM, 1.0]) + np.array([[0, 0, 0, -40.0]] * 3 + [[0] * 4]))
    wanted = nib.orientations.axcodes2ornt(codes)
    return image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), wanted))


def write_volumes(
    folder: Path,
    masks: Mapping[str, np.ndarray],
    codes: str = "RAS",
    classes: Sequence[LabelClass] = ORGANS,
    noise_hu: int = 0,
) -> Path:
    """Output folder of masks by case name, over `body` with noise; the images are beside it."""
    hu, _ = body()
    hu += np.random.default_rng(0).integers(-noise_hu, noise_hu + 1, SHAPE).astype(np.int16)
    out, images = folder / "out", folder / "images"
    images.mkdir(parents=True)
    record = _record(out, "ct", classes, ["CT"])
    for name, values in masks.items():
        image, mask = oriented(hu, codes), oriented(values, codes)
        image.to_filename(images / f"{name}.nii.gz")
        base = Prediction(name, images / f"{name}.nii.gz", np.asarray(mask.dataobj), image.affine, tuple(classes))
        found = volume_prediction(base, base.mask[None], ["mask"], np.asarray(image.dataobj), ["CT"], True)
        found.picture = (np.zeros((1, *base.mask.shape), np.float32), base.mask)
        _add(record, found)
    record.write_tables(masks, complete=True)
    return out


def write_slides(
    folder: Path, masks: Mapping[str, np.ndarray], classes: Sequence[LabelClass] = GLANDS, um_per_px: float | None = 0.5
) -> Path:
    """Output folder of masks of 2D images by case name; the images are grey."""
    out, images = folder / "out", folder / "images"
    images.mkdir(parents=True)
    record = _record(out, "histology", classes, ["R", "G", "B"])
    dpi = None if um_per_px is None else (25400 / um_per_px, 25400 / um_per_px)
    for name, mask in masks.items():
        pixels = np.full((*mask.shape, 3), 180, np.uint8)
        Image.fromarray(pixels).save(images / f"{name}.png", dpi=dpi)
        base = Prediction(name, images / f"{name}.png", mask, None, tuple(classes))
        found = image_prediction(base, mask[None], ["mask"], _reader(pixels), um_per_px)
        found.picture = (np.zeros((3, *mask.shape), np.float32), mask)
        _add(record, found)
    record.write_tables(masks, complete=True)
    return out


def _reader(pixels: np.ndarray) -> Callable[[slice, slice], np.ndarray]:
    return lambda rows, columns: pixels[rows, columns]


def _record(out: Path, task: str, classes: Sequence[LabelClass], channels: Sequence[str]) -> CohortRecord:
    out.mkdir()
    weights: list[dict[str, Any]] = [
        {"file": "model.pt", "sha256": "ab" * 32, "trained_on": "a test, 3 cases", "data_licence": "CC0-1.0"}
    ]
    settings = {"task": task, "channels": channels, "weights": weights, "reading": {}}
    names = [item.name for item in classes]
    return CohortRecord(out, {**settings, "class_names": names, "classes": [item.as_json() for item in classes]})


def _add(record: CohortRecord, found: Prediction) -> None:
    files = write_prediction(found, record.out_dir)
    record.add(
        CaseRecord(
            found.case,
            str(found.image_path),
            "warning" if found.findings else "ok",
            1.0,
            image_state({"image": str(found.image_path)}),
            tuple(path.relative_to(record.out_dir).as_posix() for path in files),
            found.statistics,
            tuple(found.implausible),
            tuple(found.findings),
        )
    )
