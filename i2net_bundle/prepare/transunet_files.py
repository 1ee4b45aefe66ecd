"""Read TransUNet's prepared Synapse files.

``train_npz/case0005_slice000.npz`` contains one slice ("image" windowed to [0, 1], "label"), and
``test_vol_h5/case0001.npy.h5`` a volume, slices first. They record no spacing, origin or orientation. Spacing and
origin stay unknown; the orientation is inferred from the organs: of the 48 possible orientations, the one that places
them as in a patient.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from i2net_bundle.checks.anatomy import Organ, measure_organs, relations
from i2net_bundle.io.archives import require_sound_zip
from i2net_bundle.io.claimed_size import require_stored
from i2net_bundle.io.findings import DataError, error
from i2net_bundle.io.geometry import mark_without_geometry
from i2net_bundle.io.regular_files import require_regular_file
from i2net_bundle.labels import label_table
from i2net_bundle.transforms.preprocessing import WINDOW_HU

TRAIN_DIR, TEST_DIR = "train_npz", "test_vol_h5"
_SLICE_NAME = re.compile(r"case(\d{4})_slice(\d{3,})\.npz")
_VOLUME_NAME = re.compile(r"case(\d{4})\.npy\.h5")


def find_transunet(folder: Path) -> dict[str, list[Path]]:
    """Find the files of every case: number ("0005") to its slices in order, or to its volume."""
    slices: dict[str, dict[int, Path]] = defaultdict(dict)
    cases: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.parent.name == TRAIN_DIR and (match := _SLICE_NAME.fullmatch(path.name)):
            slices[match[1]][int(match[2])] = path
        elif path.parent.name == TEST_DIR and (match := _VOLUME_NAME.fullmatch(path.name)):
            cases[match[1]] = [path]
    for number, found in slices.items():
        cases[number] = [found[index] for index in sorted(found)]
    return cases


def read_transunet(
    files: Sequence[Path], orientation: str | None = None
) -> tuple[nib.Nifti1Image, nib.Nifti1Image, str]:
    """Read one case.

    Args:
        files: its slices in order, or its volume.
        orientation: axis codes of (slices, rows, columns) as stored, such as "SLA"; default: inferred from the organs.

    Returns:
        CT in HU (int16; between the window's bounds, since the files contain no more) and label (uint8), RAS, both
        marked as without geometry; and the orientation.

    Raises:
        DataError: a file is damaged or not TransUNet's, slices are missing, or the orientation cannot be inferred.
    """
    image, label = _read_volume(files[0]) if len(files) == 1 and files[0].suffix == ".h5" else _stack_slices(files)
    if image.shape != label.shape or image.ndim != 3:
        problem = f"contains an image of shape {image.shape} and a label of shape {label.shape}"
        raise DataError([error("shape", files[0], problem, "Download it again.")])
    if image.min() < -1e-3 or image.max() > 1 + 1e-3:
        problem = f"contains values from {image.min():g} to {image.max():g}, not from 0 to 1"
        raise DataError([error("normalised", files[0], problem, "Take the files as TransUNet distributes them.")])
    low, high = WINDOW_HU
    hu = np.rint(low + (high - low) * image).astype(np.int16)
    if orientation is None:
        orientation = _find_orientation(label, files[0])
    images = []
    for array in (hu, label):
        canonical = nib.as_closest_canonical(nib.Nifti1Image(array, _axes_affine(orientation)))
        images.append(nib.Nifti1Image(np.ascontiguousarray(canonical.dataobj), np.eye(4)))
        mark_without_geometry(images[-1])
    return images[0], images[1], orientation


def _find_orientation(label: np.ndarray, path: Path) -> str:
    """Axis codes of (slices, rows, columns) under which most expected positions hold."""
    table = label_table("synapse")
    organs = {
        table.names[index]: organ
        for index, organ in measure_organs(label, np.eye(4)).items()
        if index < len(table.names)
    }
    scores = {codes: _score(organs, codes) for codes in _orientations()}
    best = max(scores, key=lambda codes: scores[codes])
    runner_up = max(score for codes, score in scores.items() if codes != best)
    if scores[best] < 6 or scores[best] - runner_up < 2:  # one misplaced pair must not decide
        problem = f"does not show its orientation: {best} fits {scores[best]} more positions of organs than it breaks"
        remedy = "Specify it with --orientation, the directions of (slices, rows, columns), such as SLA."
        raise DataError([error("orientation", path, problem, remedy)])
    return best


def _score(organs: dict[str, Organ], codes: str) -> int:
    """Expected positions that hold less those that do not, were the array's axes those of ``codes``."""
    turn = _axes_affine(codes)[:3, :3]
    turned = {}
    for name, organ in organs.items():
        x, y, z = turn @ np.array(organ.centre_mm)
        turned[name] = Organ(organ.volume_ml, (float(x), float(y), float(z)), organ.is_cut)
    return sum(int(np.sign(found.distance_mm)) for found in relations(turned, label_table("synapse").classes))


def _axes_affine(codes: str) -> np.ndarray:
    """Affine (4, 4) of unit voxels whose axes run in the directions of ``codes``, to RAS."""
    affine = np.zeros((4, 4))
    for column, (axis, sign) in enumerate(nib.orientations.axcodes2ornt(codes)):
        affine[int(axis), column] = sign
    affine[3, 3] = 1
    return affine


def _orientations() -> Iterator[str]:
    for axes in itertools.permutations(("RL", "AP", "SI")):
        for codes in itertools.product(*axes):
            yield "".join(codes)


def _stack_slices(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    indices = [int(match[2]) for path in files if (match := _SLICE_NAME.fullmatch(path.name))]
    known = set(indices)
    lacking = list(itertools.islice((index for index in range(indices[-1]) if index not in known), 5))
    if lacking:
        problem = f"slices {', '.join(map(str, lacking))} of this case are missing ({len(indices)} are there)"
        raise DataError([error("missing-slice", files[0], problem, "Complete the download.")])
    images, labels = [], []
    for path in files:
        try:
            require_regular_file(path)
            require_sound_zip(path)
            with np.load(path, allow_pickle=False) as arrays:
                images.append(np.asarray(arrays["image"], np.float32))
                labels.append(_whole(arrays["label"], path))
        except DataError:
            raise
        except Exception as cause:  # a damaged archive raises errors of many kinds
            raise _damaged(path, cause) from cause
    shapes = {array.shape for array in images}
    if len(shapes) > 1:
        problem = f"the slices of this case differ in shape: {sorted(shapes)}"
        raise DataError([error("shape", files[0], problem, "Download the case again.")])
    return np.stack(images), np.stack(labels)


def _read_volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        import h5py
    except ImportError as cause:
        raise ImportError(f"{path} is HDF5, which needs h5py: pip install 'i2net-bundle[transunet]'.") from cause
    try:
        require_regular_file(path)
        with h5py.File(path, "r") as file:
            for name in ("image", "label"):
                require_stored(path, file[name].nbytes, path.stat().st_size)
            return np.asarray(file["image"], np.float32), _whole(np.asarray(file["label"]), path)
    except DataError:
        raise
    except Exception as cause:
        raise _damaged(path, cause) from cause


def _whole(labels: np.ndarray, path: Path) -> np.ndarray:
    whole: np.ndarray = np.rint(labels).astype(np.int64)
    if not np.array_equal(whole, labels) or whole.min() < 0 or whole.max() > 255:
        raise DataError(
            [error("labels", path, "contains labels that are not whole numbers from 0 to 255", "Download it again.")]
        )
    return whole.astype(np.uint8)


def _damaged(path: Path, cause: Exception) -> DataError:
    problem = f"cannot be read as TransUNet's file of 'image' and 'label' ({cause})"
    return DataError([error("unreadable", path, problem, "Download it again.")])
