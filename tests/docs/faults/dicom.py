"""Faults of DICOM folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from i2net_bundle.io.dicom.volume import read_series
from i2net_bundle.io.nifti import refuse_other_content
from tests.docs.faults.table import Make, Printed, refused
from tests.io.test_dicom import multiframe, of_two_sizes, tilted, truncated, two_series, write_ct, write_scout, write_slice


def series(write: Callable[[Path], object], **how: object) -> Make:
    """A folder `dicom` that is read as a CT."""

    def make(folder: Path) -> Printed:
        write(folder / "dicom")
        return refused(lambda: read_series(folder / "dicom", **how))  # type: ignore[arg-type]

    return make


def one_slice(folder: Path) -> Printed:
    write_ct(folder)
    return refused(lambda: refuse_other_content(folder / "1.dcm"))


def no_dicom(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.txt").write_text("text")


def two_truncated(folder: Path) -> None:
    truncated(folder)
    content = (folder / "2.dcm").read_bytes()
    (folder / "2.dcm").write_bytes(content[:-20])


def damaged_pixels(folder: Path) -> None:
    """A slice says that its pixels are run-length encoded, which they are not."""
    write_ct(folder)
    path = folder / "1.dcm"
    plain, run_length = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"
    path.write_bytes(path.read_bytes().replace(plain, run_length, 1))


FAULTS: dict[str, Make] = {
    "one slice instead of the folder": one_slice,
    "no folder": series(lambda folder: None),
    "no DICOM in it": series(no_dicom),
    "several series": series(two_series),
    "localisers only": series(write_scout),
    "no such series": series(two_series, chosen=4),
    "no series of that UID": series(two_series, chosen="9.9.8.7"),
    "missing slice, irregular spacing": series(lambda folder: write_ct(folder, (0, 5, 10, 20, 25))),
    "slices twice": series(lambda folder: write_ct(folder, (0, 5, 5, 10, 10))),
    "gantry tilt": series(tilted),
    "MR, and the channel is called CT": series(lambda folder: write_ct(folder, modality="MR")),
    "CT, and the channel is called otherwise": series(write_ct, ct=False),
    "mixed slices": series(of_two_sizes),
    "several frames in a file": series(multiframe),
    "truncated slices": series(two_truncated),
    "damaged pixels": series(damaged_pixels),
}
