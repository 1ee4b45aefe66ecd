"""NRRD and MetaImage files with changed headers, and the finding that each change must give."""

from __future__ import annotations

import re
from pathlib import Path

from tests.checks.ct_files import hu_volume, save
from tests.io.volume_files import converted


def header_file(folder: Path, suffix: str, *replacements: tuple[str, str]) -> Path:
    """A sound CT with a header of its own (.nhdr, .mhd), in which patterns are replaced."""
    path = converted(save(folder / "ct.nii.gz", hu_volume()), suffix)
    text = path.read_text()
    for pattern, replacement in replacements:
        assert re.search(pattern, text, re.MULTILINE)
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    path.write_text(text)
    return path


FAULTS = {
    "no spacing in NRRD": (
        ".nhdr",
        [(r"^space directions:.*\n", "")],
        "spacing",
        "does not record its spacing (no 'space directions'). Correct the header from the scan's own record",
    ),
    "spacings without directions": (
        ".nhdr",
        [(r"^space: .*\n", ""), (r"^space origin:.*\n", ""), (r"^space directions:.*", "spacings: 2 2 3")],
        "no-orientation",
        "does not record its orientation in the patient (no 'space' or no 'space directions'). Add 'space: left-",
    ),
    "a space that is not the patient's": (
        ".nhdr",
        [("left-posterior-superior", "scanner-xyz")],
        "no-orientation",
        "does not record its orientation in the patient (its space is 'scanner-xyz')",
    ),
    "another unit": (
        ".nhdr",
        [("^space origin", 'space units: "cm" "cm" "cm"\nspace origin')],
        "units",
        "records its spacing in cm. Write it in mm",
    ),
    "an axis without a direction": (
        ".nhdr",
        [(r"^space directions:.*", "space directions: none (0,2,0) (0,0,3)")],
        "spacing",
        "records the spacing of 2 of 3 axes ('space directions')",
    ),
    "degenerate directions in NRRD": (
        ".nhdr",
        [(r"^space directions:.*", "space directions: (2,0,0) (2,0,0) (0,0,3)")],
        "orientation",
        "has a degenerate matrix of directions",
    ),
    "no spacing in MetaImage": (
        ".mhd",
        [(r"^ElementSpacing.*\n", "")],
        "spacing",
        "does not record its spacing (no ElementSpacing)",
    ),
    "NaN origin": (".mhd", [(r"^Offset.*", "Offset = nan 0 0")], "orientation", "has the origin nan 0 0"),
    "negative spacing": (".mhd", [(r"^ElementSpacing.*", "ElementSpacing = -2 2 3")], "spacing", "spacing -2 x 2 x 3"),
    "zero spacing": (".mhd", [(r"^ElementSpacing.*", "ElementSpacing = 0 2 3")], "spacing", "spacing 0 x 2 x 3"),
    "NaN spacing": (".mhd", [(r"^ElementSpacing.*", "ElementSpacing = nan 2 3")], "spacing", "spacing nan x 2 x 3"),
    "no orientation in MetaImage": (
        ".mhd",
        [(r"^TransformMatrix.*\n", "")],
        "no-orientation",
        "does not record its orientation (no TransformMatrix). Add 'TransformMatrix = 1 0 0 0 1 0 0 0 1' if",
    ),
    "degenerate directions in MetaImage": (
        ".mhd",
        [(r"^TransformMatrix.*", "TransformMatrix = 1 0 0 1 0 0 0 0 1")],
        "orientation",
        "has a degenerate matrix of directions",
    ),
}
