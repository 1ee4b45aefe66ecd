"""Find the folders of a tree that are DICOM cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from i2net_bundle.io.dicom.headers import is_dicom
from i2net_bundle.io.dicom.series import group_series
from i2net_bundle.io.file_listing import files_below


def dicom_folders(folder: str | Path, volumes: Sequence[str | Path] = ()) -> list[Path]:
    """Find the DICOM cases among a folder and its subfolders.

    A folder is one case if the DICOM files in and below it are one series, localisers aside, and it contains no other
    volume. Otherwise each subfolder is examined separately, and the files directly in the folder are a case. Folders
    that share a series are not split, so that no series is read in part: their common parent is the case, and reading
    it lists its series.

    Headers are read only if several folders contain DICOM files, or there are other volumes.

    Args:
        folder: root of the tree.
        volumes: volumes of other formats in the tree.

    Returns:
        the folders in the order of their paths; empty if there are no DICOM files, or only localisers.
    """
    folder = Path(folder)
    files = list(files_below(folder))
    holding = {path.parent for path in files if is_dicom(path)}
    if len(holding) == 1 and not volumes:
        return [folder]
    content = group_series(folder, (path for path in files if path.parent in holding))
    spans = [item.folders for item in content.series if not item.is_localizer]
    spans += [{inner} for inner in {path.parent for path in content.damaged}.difference(*spans)]
    return list(_cases(folder, spans, {parent for path in volumes for parent in Path(path).parents}))


def _cases(folder: Path, spans: Sequence[set[Path]], mixed: set[Path]) -> Iterator[Path]:
    """Yield the cases in and below a folder.

    Args:
        folder: folder that contains all series.
        spans: folders of each series.
        mixed: folders with other volumes in or below them.
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
    """Return the child of ``folder`` that contains ``inner``, or the folder itself."""
    return folder / Path(*inner.relative_to(folder).parts[:1])
