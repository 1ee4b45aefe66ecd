"""Read the headers of NRRD and MetaImage files, and refuse those that leave something out or claim the impossible.

ITK assumes 1 mm and the patient's axes for whatever a header omits, and trusts the sizes that it claims.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from i2net_bundle.io.claimed_size import DEFLATE_RATIO, require_stored
from i2net_bundle.io.findings import DataError, Finding, error
from i2net_bundle.io.formats import is_nrrd
from i2net_bundle.io.regular_files import require_regular_file

_HEADER_BYTES = 2**20
_MOST_AXES = 8
_SPACE_AXES = 3
_SPACES = ("left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior", "las")
"""NRRD spaces that ITK converts to its own."""
_ORIGINS = ("Offset", "Position", "Origin")
_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_CORRECT = "Correct the header from the scan's own record, or convert the DICOM series again."

_ENCODINGS = {"raw": 1.0, "gzip": DEFLATE_RATIO, "gz": DEFLATE_RATIO, "hex": 0.5, "txt": 4.0, "text": 4.0, "ascii": 4.0}
"""NRRD encodings that ITK reads, with the largest compression of each."""
_NUMBER_BYTES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR", "char", "int8", "uint8", "uchar"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT", "short", "ushort", "int16", "uint16"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_FLOAT", "int", "uint", "int32", "uint32", "float"), 4),
}
_MOST_NUMBER_BYTES = 8
_SKIPS = ("line skip", "lineskip", "byte skip", "byteskip", "HeaderSize")
_NAME_ENDINGS = re.compile(r"_t$|_ARRAY$")


def read_header(path: str | Path) -> dict[str, str]:
    """Read the fields of an NRRD header (names in lower case) or a MetaImage header (names as written)."""
    with open(path, "rb") as file:
        text = file.read(_HEADER_BYTES).decode("latin-1")
    fields = {}
    nrrd = is_nrrd(path)
    for line in text.split("\n"):
        name, separator, value = line.partition(":" if nrrd else "=")
        name = name.strip().lower() if nrrd else name.strip()
        if separator and not (nrrd and value.startswith("=")):  # NRRD's own fields, not the keys of a program
            fields[name] = value.strip()
        if (nrrd and not line.strip()) or name == "ElementDataFile":
            break  # voxels follow
    return fields


def voxel_file(path: str | Path) -> str | None:
    """Return the file name of the voxels that a header names; None where header and voxels share a file."""
    header = read_header(path)
    name = header.get("data file", header.get("datafile")) if is_nrrd(path) else header.get("ElementDataFile")
    return None if name in (None, "LOCAL") else name


def claimed_bytes(path: str | Path, header: dict[str, str]) -> int:
    """Return the size of the voxels that a header claims, in bytes.

    Args:
        path: the file.
        header: from `read_header`.

    Raises:
        DataError: the header has no usable size, its file cannot hold the voxels, or their encoding is not read.
    """
    names = ("dimension", "sizes", "type") if is_nrrd(path) else ("NDims", "DimSize", "ElementType")
    axes, sides, kind = (header.get(name) for name in names)
    if axes is None or sides is None or kind is None:
        missing = next(name for name in names if name not in header)
        problem = f"cannot be read (its header has no '{missing}')"
        raise DataError([error("unreadable", path, problem, "Download it again.")])
    sizes = sides.split()
    if not _is_count(axes) or int(axes) != len(sizes) or int(axes) > _MOST_AXES or not all(map(_is_count, sizes)):
        problem = f"has an impossible size ({names[0]} {_short(axes)}, {names[1]} {_short(sides)})"
        raise DataError([error("shape", path, problem, _CORRECT)])
    channels = header.get("ElementNumberOfChannels", "1")
    count = math.prod(map(int, sizes)) * (int(channels) if _is_count(channels) else 1)
    claimed = count * _NUMBER_BYTES.get(_NAME_ENDINGS.sub("", kind.split()[-1] if kind else ""), _MOST_NUMBER_BYTES)
    beside = voxel_file(path)
    ratio = _ratio(path, header)
    if beside is None:
        require_stored(path, claimed, require_regular_file(path), ratio)
    elif (Path(path).parent / beside).exists():  # else it is a list or a pattern, or ITK's error names it
        require_stored(path, claimed, _voxel_bytes(path, beside), ratio)
    return claimed


def _voxel_bytes(path: str | Path, beside: str) -> int:
    try:
        return require_regular_file(Path(path).parent / beside)
    except DataError as fault:
        problem = f"names '{_short(beside)}' as the file of its voxels, which {fault.findings[0].problem}"
        raise DataError([error("file-kind", path, problem, "Correct the header, or copy all of it again.")]) from fault


def deflated_voxels(path: str | Path, header: dict[str, str]) -> tuple[Path, int] | None:
    """Return the file of the compressed voxels and their position in it.

    Returns:
        None where they are not compressed by deflate, or lie in several files or behind bytes to skip.
    """
    if _ratio(path, header) != DEFLATE_RATIO or any(header.get(name, "0") != "0" for name in _SKIPS):
        return None
    beside = voxel_file(path)
    if beside is not None:
        file = Path(path).parent / beside
        return (file, 0) if file.is_file() else None
    with open(path, "rb") as stream:
        start = stream.read(_HEADER_BYTES)
    end = re.search(rb"\r?\n\r?\n" if is_nrrd(path) else rb"ElementDataFile[^\n]*\n", start)
    return None if end is None else (Path(path), end.end())


def byte_order(path: str | Path, header: dict[str, str]) -> str | None:
    """Return the byte order of the voxels as numpy writes it, "<" or ">"; None if the header does not record it."""
    if is_nrrd(path):
        return {"little": "<", "big": ">"}.get(header.get("endian", "").lower())
    recorded = header.get("BinaryDataByteOrderMSB", header.get("ElementByteOrderMSB", ""))
    return {"false": "<", "true": ">"}.get(recorded.lower())


def geometry_findings(path: str | Path, header: dict[str, str]) -> list[Finding]:
    """Report a header that does not record the spacing in mm and the orientation in the patient."""
    return _nrrd_findings(path, header) if is_nrrd(path) else _metaimage_findings(path, header)


def _ratio(path: str | Path, header: dict[str, str]) -> float:
    if not is_nrrd(path):
        return DEFLATE_RATIO if header.get("CompressedData", "").lower() == "true" else 1.0
    encoding = header.get("encoding", "raw").lower()
    if encoding not in _ENCODINGS:
        problem = f"is encoded by {_short(encoding)}, which is not read"
        raise DataError([error("encoding", path, problem, "Save it with gzip compression.")])
    return _ENCODINGS[encoding]


def _nrrd_findings(path: str | Path, header: dict[str, str]) -> list[Finding]:
    if "space directions" not in header and "spacings" not in header:
        return [error("spacing", path, "does not record its spacing (no 'space directions')", _CORRECT)]
    vectors = header.get("space directions", "").count("(")
    if "space directions" in header and vectors < _SPACE_AXES:
        problem = f"records the spacing of {vectors} of {_SPACE_AXES} axes ('space directions')"
        return [error("spacing", path, problem, _CORRECT)]
    units = [unit for unit in re.findall(r'"([^"]*)"', header.get("space units", "")) if unit not in ("mm", "")]
    if units:
        remedy = "Write it in mm: ITK ignores the units."
        return [error("units", path, f"records its spacing in {_short(units[0])}", remedy)]
    space = header.get("space", "").lower()
    if space in _SPACES and "space directions" in header:
        return []
    named = space and space not in _SPACES
    said = f"its space is '{_short(space)}'" if named else "no 'space' or no 'space directions'"
    remedy = (
        "Add 'space: left-posterior-superior' if that is right, or convert the DICOM series again; a label "
        "without one can use its image's (geometry: image)."
    )
    return [error("no-orientation", path, f"does not record its orientation in the patient ({said})", remedy)]


def _metaimage_findings(path: str | Path, header: dict[str, str]) -> list[Finding]:
    spacing = header.get("ElementSpacing", header.get("ElementSize"))
    if spacing is None:
        return [error("spacing", path, "does not record its spacing (no ElementSpacing)", _CORRECT)]
    if not all(_is_positive(side) for side in spacing.split()):
        return [error("spacing", path, f"has the spacing {_short(' x '.join(spacing.split()))}", _CORRECT)]
    origin = next((header[name] for name in _ORIGINS if name in header), "")
    if not all(map(_is_finite, origin.split())):
        return [error("orientation", path, f"has the origin {_short(origin)}", _CORRECT)]
    if any(name in header for name in _MATRICES):
        return []
    remedy = (
        "Add 'TransformMatrix = 1 0 0 0 1 0 0 0 1' if its axes run to the patient's left, back and head, or convert "
        "the DICOM series again; a label without one can use its image's (geometry: image)."
    )
    return [error("no-orientation", path, "does not record its orientation (no TransformMatrix)", remedy)]


def _is_count(text: str) -> bool:
    return re.fullmatch(r"0*[1-9][0-9]{0,17}", text, re.ASCII) is not None


def _is_positive(number: str) -> bool:
    return _is_finite(number) and float(number) > 0


def _is_finite(number: str) -> bool:
    try:
        return math.isfinite(float(number))
    except ValueError:
        return False


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
