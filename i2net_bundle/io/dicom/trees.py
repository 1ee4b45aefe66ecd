"""Which folders of a tree are a DICOM case each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from i2net_bundle.io.dicom.series import group_series
from i2net_bundle.io.formats import known_suffixes

_DICOM_SUFFIXES = (".dcm", ".ima")


def dicom_folders(folder: str | Path, volumes: Sequence[str | Path] = ()) -> list[Path]:
    """Find the folders, the given one and those below it, that are a DICOM case each.

    A folder is one case where all DICOM below it is one series besides localisers, and no other volume lies there. Else
    each folder below is looked at by itself, and the files in the folder itself are a case. Folders that share a series
    are not taken apart, lest it be read in part: the folder above them is the case, and reading it lists its series.

    Headers are read only where more than one folder holds DICOM, or volumes lie there too.

    Args:
        folder: the tree.
        volumes: files of other formats below it.

    Returns:
        in the order of their paths; none where there is no DICOM, or only localisers.
    """
    folder = Path(folder)
    holding = {path.parent for path in _first_dicom_files(folder)}
    if len(holding) == 1 and not volumes:
        return [folder]
    series, damaged = group_series(folder, (path for inner in holding for path in inner.iterdir() if path.is_file()))
    spans = [item.folders for item in series if not item.is_localizer]
    spans += [{inner} for inner in {path.parent for path in damaged}.difference(*spans)]
    return list(_cases(folder, spans, {parent for path in volumes for parent in Path(path).parents}))


def _cases(folder: Path, spans: Sequence[set[Path]], mixed: set[Path]) -> Iterator[Path]:
    """Cases at and below a folder.

    Args:
        folder: of all series.
        spans: the folders of each.
        mixed: folders with other volumes at or below them.
    """
    if len(spans) == 1 and folder not in mixed:
        yield folder
        return
    parts = [{_part(folder, inner) for inner in span} for span in spans]
    held, together = set().union(*parts), {folder}.union(*(own for own in parts if len(own) > 1))
    if held & together:
        yield folder
    for part in sorted(held - together):
        yield from _cases(part, [span for span, own in zip(spans, parts, strict=True) if own == {part}], mixed)


def _part(folder: Path, inner: Path) -> Path:
    """Which child of ``folder`` holds ``inner``, or the folder itself."""
    return folder / Path(*inner.relative_to(folder).parts[:1])


def _first_dicom_files(folder: Path) -> Iterator[Path]:
    """Of each folder that holds DICOM, one such file."""
    for name, _, files in os.walk(folder):
        first = next(filter(_is_dicom, (Path(name, file) for file in sorted(files))), None)
        if first is not None:
            yield first


def _is_dicom(path: Path) -> bool:
    """Whether a file seems to be DICOM, by its name or its first bytes."""
    name = path.name.lower()
    if name.endswith(_DICOM_SUFFIXES):
        return True
    if name.endswith(known_suffixes()) or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
