"""Every class gets a DICOM category and code, whatever its name."""

from __future__ import annotations

import pytest

from i2net_bundle.labels import LabelClass, classes_of

pytest.importorskip("pydicom", reason="needs pip install 'i2net-bundle[dicom]'")
from i2net_bundle.io.dicom.concepts import dicom_text, private_code, segment_concept

ANATOMY, ABNORMAL = "Anatomical Structure", "Morphologically Abnormal Structure"


@pytest.mark.parametrize(
    ("name", "category", "code", "meaning"),
    [
        ("spleen", ANATOMY, "78961009", "Spleen"),
        ("Prostate", ANATOMY, "41216001", "Prostate"),
        ("portal_vein", ANATOMY, "32764006", "Portal vein"),
        ("edema", ABNORMAL, "79654002", "Edema"),
        ("tumour", ABNORMAL, "108369006", "Neoplasm"),
        ("cancer", ABNORMAL, "108369006", "Neoplasm"),
        ("liver lesions", ABNORMAL, "52988006", "Lesion"),
        ("kidney cyst", ABNORMAL, "367643001", "Cyst"),
        ("lung nodules", ABNORMAL, "27925004", "Nodule"),
    ],
)
def test_names_of_dicoms_concepts_get_their_codes(name: str, category: str, code: str, meaning: str) -> None:
    found = segment_concept(classes_of([name])[0])
    assert found.category.meaning == category
    assert (found.kind.value, found.kind.scheme_designator, found.kind.meaning) == (code, "SCT", meaning)


@pytest.mark.parametrize(
    ("name", "side", "region"),
    [
        ("adrenal_gland_right", "Right", None),
        ("left adrenal gland", "Left", None),
        ("liver tumour", None, "Liver"),
        ("left kidney tumor", "Left", "Kidney"),
        ("tumour of a kind", None, None),
    ],
)
def test_a_side_and_the_organ_of_a_lesion_are_told_apart(name: str, side: str | None, region: str | None) -> None:
    found = segment_concept(classes_of([name])[0])
    assert (found.laterality and found.laterality.meaning, found.region and found.region.meaning) == (side, region)


@pytest.mark.parametrize("name", ["spleenic", "left", "a liver", "gland", "肝臓", "red"])
def test_names_that_are_not_concepts_get_a_private_code(name: str) -> None:
    found = segment_concept(classes_of([name])[0])
    assert found.kind.scheme_designator == "99I2NET"
    assert found.kind.meaning == name


def test_a_code_in_the_users_table_takes_precedence() -> None:
    item = LabelClass("my organ", "#112233", snomed=("10200004", "Liver"), laterality=("7771000", "Left"))
    found = segment_concept(item)
    assert (found.kind.value, found.category.meaning, found.laterality and found.laterality.value) == (
        "10200004",
        ANATOMY,
        "7771000",
    )


def test_a_users_lesion_code_gets_the_lesion_category() -> None:
    assert segment_concept(LabelClass("met", "#112233", snomed=("108369006", "Neoplasm"))).category.meaning == ABNORMAL


NAMES = ["bowel loop", "bowel/loop", "x" * 16, "x" * 17, "x" * 18, "肝", "臓", "Ä", "A"]


def test_private_codes_are_short_plain_and_differ() -> None:
    codes = [private_code(name) for name in NAMES]
    assert len(set(codes)) == len(NAMES)
    assert all(1 <= len(code) <= 16 and code.isascii() and "\\" not in code for code in codes)
    assert codes == [private_code(name) for name in NAMES]


def test_texts_are_shortened_to_their_field() -> None:
    assert dicom_text("a\\b" + "x" * 80) == "a/b" + "x" * 61
