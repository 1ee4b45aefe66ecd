"""Compare labels with anatomy: impossible positions and volumes reveal swapped labels or a flipped patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from i2net_bundle.io.findings import Finding, warning
from i2net_bundle.labels import LabelClass, LabelTable, label_table

_DIRECTIONS = {"right": (0, 1), "left": (0, -1), "posterior": (1, -1), "superior": (2, 1)}  # RAS axis and sign
_TURNED = {0: "mirrored left to right", 1: "lying face down (front and back swapped)", 2: "upside down"}
_MARGIN_MM = 5.0
_SMALLEST_ML = 0.5  # the position of smaller regions is unreliable
_MOST_IDS = 2**16
_TELLING_ORGANS = 4  # fewer would fit some numbering by chance


@dataclass(frozen=True)
class Organ:
    """Volume and position of one label.

    Attributes:
        volume_ml: in mL.
        centre_mm: centre of mass, RAS mm.
        is_cut: whether it touches the first or last plane of any axis.
    """

    volume_ml: float
    centre_mm: tuple[float, float, float]
    is_cut: bool


def measure_organs(labels: np.ndarray, affine: np.ndarray) -> dict[int, Organ]:
    """Measure volume and position of every label except 0.

    Args:
        labels: whole numbers from 0, (X, Y, Z).
        affine: (4, 4), voxel to RAS mm.
    """
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    ids, labels = _few_ids(labels)
    organs = {}
    for index, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        inside = labels[box] == index
        profiles = [np.count_nonzero(inside, axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
        count = int(profiles[0].sum())
        centre = [
            part.start + float(profile @ np.arange(len(profile))) / count
            for part, profile in zip(box, profiles, strict=True)
        ]
        x, y, z = (affine[:3, :3] @ centre + affine[:3, 3]).tolist()
        is_cut = any(part.start == 0 or part.stop == size for part, size in zip(box, labels.shape, strict=True))
        organs[int(ids[index])] = Organ(count * voxel_ml, (x, y, z), is_cut)
    return organs


def _few_ids(labels: np.ndarray) -> tuple[Sequence[int] | np.ndarray, np.ndarray]:
    """Renumber labels with large ids, since tables are as long as the largest id; return all ids and the labels."""
    highest = int(labels.max(initial=0))
    if highest <= _MOST_IDS:
        return range(highest + 1), labels
    ids, numbers = np.unique(labels, return_inverse=True)
    numbers = numbers.reshape(labels.shape)
    return (ids, numbers) if ids[0] == 0 else (np.insert(ids, 0, 0), numbers + 1)


@dataclass(frozen=True)
class Relation:
    """A measured distance between two organs with an expected order.

    Attributes:
        name: name of the class.
        of: name of the class it is compared with.
        axis: RAS axis of the direction.
        distance_mm: between the two centres in the expected direction; negative if the order is reversed.
    """

    name: str
    of: str
    axis: int
    distance_mm: float


def anatomy_findings(
    organs: Mapping[int, Organ], classes: Sequence[LabelClass], path: str | Path, has_geometry: bool = True
) -> list[Finding]:
    """Warn about implausible positions and volumes of organs.

    Args:
        organs: see `measure_organs`.
        classes: of each label, background first; classes without expected volumes and positions are skipped.
        path: for the message.
        has_geometry: whether the spacing is known; volumes are only checked if it is.
    """
    named = {classes[index].name: organ for index, organ in organs.items() if index < len(classes)}
    findings = _organ_findings(named, classes, path, has_geometry)
    table = label_table("synapse")
    own_names = [item.name for item in classes] == table.names
    better = _better_numbering(organs, table, len(findings), has_geometry) if own_names and findings else None
    if better:
        problem = f"fits the numbering '{better}' better than {table.name}'s own"
        remedy = f"Were the labels prepared elsewhere? Then prepare them with --numbering {better}."
        findings.append(warning("numbering", path, problem, remedy))
    return findings


def relations(named: Mapping[str, Organ], classes: Sequence[LabelClass]) -> Iterator[Relation]:
    """Measure the distances between organs with an expected order.

    Args:
        named: organs by class name.
        classes: classes with their expected positions.
    """
    for item in classes:
        for direction, neighbour in item.positions:
            other = next((known.name for known in classes if known.is_called(neighbour)), None)
            if other is not None and item.name in named and other in named:
                axis, sign = _DIRECTIONS[direction]
                distance = sign * (named[item.name].centre_mm[axis] - named[other].centre_mm[axis])
                yield Relation(item.name, other, axis, distance)


def _organ_findings(
    named: Mapping[str, Organ], classes: Sequence[LabelClass], path: str | Path, has_geometry: bool
) -> list[Finding]:
    volumes = _volume_findings(named, classes, path) if has_geometry else []
    return volumes + _position_findings(named, classes, path)


def _volume_findings(named: Mapping[str, Organ], classes: Sequence[LabelClass], path: str | Path) -> list[Finding]:
    findings = []
    expected = {item.name: item.volume_ml for item in classes}
    for name, organ in named.items():
        volume_ml = expected[name]
        if volume_ml is None:
            continue
        low, high = volume_ml
        if organ.volume_ml > high or (organ.volume_ml < low and not organ.is_cut):
            problem = f"{name} of {organ.volume_ml:.0f} mL; the usual range is {low:g} to {high:g} mL"
            remedy = "Look at it (i2net preview), and check the numbering and the spacing."
            findings.append(warning("organ-volume", path, problem, remedy))
    return findings


def _position_findings(named: Mapping[str, Organ], classes: Sequence[LabelClass], path: str | Path) -> list[Finding]:
    wrong: dict[int, list[str]] = {axis: [] for axis in _TURNED}
    right: dict[int, int] = dict.fromkeys(_TURNED, 0)
    telling = {name: organ for name, organ in named.items() if organ.volume_ml >= _SMALLEST_ML}
    for found in relations(telling, classes):
        if found.axis == 2 and (telling[found.name].is_cut or telling[found.of].is_cut):
            continue  # in a short scan the visible part's centre is no measure of height
        if found.distance_mm < -_MARGIN_MM:
            wrong[found.axis].append(f"{found.name} {-found.distance_mm:.0f} mm on the wrong side of {found.of}")
        elif found.distance_mm > _MARGIN_MM:
            right[found.axis] += 1
    findings = []
    for axis, problems in wrong.items():
        if not problems:
            continue
        turned = len(problems) >= 2 and not right[axis]
        problem = f"the patient seems {_TURNED[axis]}" if turned else "organs out of place"
        remedy = "Check the header's orientation" if turned else "Check the numbering of the labels"
        findings.append(
            warning(
                "organ-position",
                path,
                f"{problem}: {'; '.join(problems)}",
                f"{remedy}, and look at it (i2net preview).",
            )
        )
    return findings


def _better_numbering(organs: Mapping[int, Organ], table: LabelTable, faults: int, has_geometry: bool) -> str | None:
    """Find a declared numbering that leaves fewer than half the faults."""
    if len(organs) < _TELLING_ORGANS:
        return None
    best, fewest = None, faults / 2
    for source, names in table.sources.items():
        if not set(organs) <= set(names):
            continue
        known = {index: table.find(names[index]) for index in organs}
        named = {item.name: organs[index] for index, item in known.items() if item is not None}
        remaining = len(_organ_findings(named, table.classes, "", has_geometry))
        if remaining < fewest:
            best, fewest = source, remaining
    return best
