"""Find the DICOM codes of a class: a category and a coded concept for its segment.

A class's own SNOMED CT code takes precedence. Otherwise its name is looked up among the concepts that DICOM lists for
segments (CID 7191 to 7198 and 8134). The name must match exactly, apart from a side and words for lesions. Other names
get a code of a private scheme, which the standard allows (PS3.3 section 8.2).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from i2net_bundle.labels import LabelClass
from i2net_bundle.labels.names import plain_name

PRIVATE_SCHEME = "99I2NET"
MAX_CHARACTERS = 64
"""Maximum length of a code meaning and of a segment label (VR LO)."""

_SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}
_LISTS = (
    ("cid7194", "MorphologicallyAbnormalStructure"),
    ("cid7159", "MorphologicallyAbnormalStructure"),
    ("cid7192", "AnatomicalStructure"),
    ("cid7154", "AnatomicalStructure"),
    ("cid8134", "AnatomicalStructure"),
    ("cid7191", "Tissue"),
    ("cid7193", "PhysicalObject"),
    ("cid7197", "BodySubstance"),
)
"""DICOM context groups of segment concepts, and the category of each."""

_LESIONS = {
    "tumour": "Neoplasm",
    "tumor": "Neoplasm",
    "neoplasm": "Neoplasm",
    "cancer": "Neoplasm",
    "carcinoma": "Neoplasm",
    "metastasis": "Neoplasm",
    "lesion": "Lesion",
    "nodule": "Nodule",
    "cyst": "Cyst",
}
_LONGEST_CODE = 16
_HASH_DIGITS = 6


@dataclass(frozen=True)
class SegmentConcept:
    """Codes of a segment.

    Attributes:
        category: segmented property category, such as Anatomical Structure.
        kind: segmented property type.
        laterality: left or right, if the name includes a side.
        region: organ that contains a lesion, if the name includes one.
    """

    category: Code
    kind: Code
    laterality: Code | None = None
    region: Code | None = None


def segment_concept(item: LabelClass) -> SegmentConcept:
    """Return the codes of a class: its own, those of the concept with its name, or a private code."""
    if item.snomed is not None:
        side = None if item.laterality is None else Code(item.laterality[0], "SCT", item.laterality[1])
        category, _ = _known_code(item.snomed[0]) or (codes.SCT.AnatomicalStructure, None)
        return SegmentConcept(category, Code(item.snomed[0], "SCT", item.snomed[1]), side)
    words = plain_name(item.name).split()
    found = _concept(" ".join(words))
    if found is not None:
        return SegmentConcept(*found)
    sides = [word for word in words if word in _SIDES]
    side = _SIDES[sides[0]] if len(sides) == 1 else None
    others = [word for word in words if word not in _SIDES] if side else words
    found = _concept(" ".join(others))
    if side is not None and found is not None:
        return SegmentConcept(*found, side)
    lesions = [word for word in others if _singular(word) in _LESIONS]
    if lesions:
        organ = _concept(" ".join(word for word in others if word not in lesions))
        region = organ[1] if organ and organ[0] == codes.SCT.AnatomicalStructure else None
        kind = getattr(codes.SCT, _LESIONS[_singular(lesions[-1])])
        return SegmentConcept(codes.SCT.MorphologicallyAbnormalStructure, kind, side, region)
    private = Code(private_code(item.name), PRIVATE_SCHEME, dicom_text(item.name))
    return SegmentConcept(codes.SCT.AnatomicalStructure, private)


def private_code(name: str) -> str:
    """Return a private code value for a class name: its letters if they fit, else shortened with a hash.

    >>> private_code("bowel loop"), private_code("Leber/links")
    ('BOWEL_LOOP', 'LEBERLINK-c05c97')
    """
    plain = plain_name(name)
    if len(plain) <= _LONGEST_CODE and re.fullmatch("[a-z0-9 ]+", plain):
        return plain.replace(" ", "_").upper()
    letters = re.sub("[^A-Z0-9]", "", plain.upper())[: _LONGEST_CODE - _HASH_DIGITS - 1] or "CLASS"
    return f"{letters}-{hashlib.sha256(plain.encode()).hexdigest()[:_HASH_DIGITS]}"


def dicom_text(text: str) -> str:
    r"""Fit a text into a field of 64 characters, without ``\``, which separates values."""
    return text.replace("\\", "/")[:MAX_CHARACTERS].strip()


def private_scheme() -> Dataset:
    """Return the item of CodingSchemeIdentificationSequence for the private scheme."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = "Class names of a data set segmented with the I2Net bundle"
    item.CodingSchemeResponsibleOrganization = "I2Net bundle"
    return item


def _concept(name: str) -> tuple[Code, Code] | None:
    return _concepts().get(name) if name else None


@cache
def _concepts() -> dict[str, tuple[Code, Code]]:
    """Map the plain names of DICOM concepts to their category and code."""
    named: dict[str, tuple[Code, Code]] = {}
    for category, keyword, code in _listed():
        for name in (code.meaning, re.sub("(?<=[a-z])(?=[A-Z])", " ", keyword)):
            named.setdefault(plain_name(name), (category, code))
    return named


@cache
def _known_code(value: str) -> tuple[Code, Code] | None:
    return next(((category, code) for category, _, code in _listed() if code.value == value), None)


def _listed() -> Iterator[tuple[Code, str, Code]]:
    for name, category in _LISTS:
        concepts: Any = getattr(codes, name)
        for keyword in concepts.dir():
            try:
                code = getattr(concepts, keyword)
            except RuntimeError:  # two coding schemes share this keyword
                continue
            if code.scheme_designator == "SCT":
                yield getattr(codes.SCT, category), keyword, code


def _singular(word: str) -> str:
    return {"metastases": "metastasis"}.get(word, word.removesuffix("s") if word not in _LESIONS else word)
